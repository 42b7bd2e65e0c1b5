# A narrow ResNet-18 at stride 8 up to its third stage, for the embedded shapes on a CPU.
model = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(128, 128),
        seg_pad_val=255),
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=18,
        num_stages=3,
        stem_channels=24,
        base_channels=24,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(2, ),
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='configs/backbones/resnet18_shapes_fold0.pth', prefix='backbone.')),
    decode_head=dict(
        type='ScaleProtoHead',
        in_channels=96,
        num_classes=17,
        scale_channels=32,
        dilations=(1, 2, 3, 5),
        prototypes_per_scale=3,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-4),
        ]),
    test_cfg=dict(mode='whole'))
