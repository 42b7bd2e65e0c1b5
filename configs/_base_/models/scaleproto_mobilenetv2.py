# MobileNetV2 at stride 16, for real images on a CPU (weights: MMPretrain's, see configs/scaleprotoseg/README.md).
model = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(257, 257),
        seg_pad_val=255),
    backbone=dict(
        type='mmseg.MobileNetV2',
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 2, 2),
        out_indices=(5, 6),  # the heads use the last; a single map would come without a list
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',
            prefix='backbone.')),
    decode_head=dict(
        type='ScaleProtoHead',
        in_channels=320,
        num_classes=21,
        scale_channels=64,
        dilations=(1, 2, 4, 6),
        prototypes_per_scale=3,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-4),
        ]),
    test_cfg=dict(mode='whole'))
