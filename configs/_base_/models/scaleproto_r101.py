# Stage 1 with the ResNet-101 of DeepLabv2 at stride 8 (weights: configs/scaleprotoseg/README.md).
model = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        seg_pad_val=255),
    backbone=dict(
        type='DeepLabResNet',
        depth=101,
        num_stages=4,
        out_indices=(3, ),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        # The stride is on the first convolution of a block, though the weights were trained with it on the second.
        style='caffe',
        contract_dilation=False,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth',
            prefix='backbone.')),
    decode_head=dict(
        type='ScaleProtoHead',
        in_channels=2048,
        num_classes=19,
        scale_channels=64,
        dilations=(6, 12, 18, 24),
        prototypes_per_scale=3,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-4),
        ]),
    test_cfg=dict(mode='whole'))
