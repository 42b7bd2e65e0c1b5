# ScaleProtoSeg for few shots with ResNet-50, frozen (weights: configs/scaleproto_fss/README.md). The scales are the
# strides 8, 16 and 32, on the grid of stride 8.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth',
            prefix='backbone.')),
    features=dict(num_levels=3),
    frozen_backbone=True,
    head=dict(type='FewShotScaleProtoHead', foreground_weight=3.))
