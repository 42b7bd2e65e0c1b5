# Stage 1 with a U-Net trained from scratch, at full resolution.
model = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        seg_pad_val=255),
    backbone=dict(type='DeconvUNet', base_channels=64, norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='ScaleProtoHead',
        in_channels=64,
        in_index=4,
        num_classes=2,
        scale_channels=64,
        dilations=(6, 12, 18, 24),
        prototypes_per_scale=3,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-4),
        ]),
    test_cfg=dict(mode='whole'))
