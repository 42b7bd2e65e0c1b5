# DCAMA with ResNet-101, frozen (weights: configs/dcama/README.md).
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=101,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-rsb-weights/resnet101_a1h-36d3f2aa.pth',
            prefix='backbone.')),
    frozen_backbone=True,
    head=dict(type='DCAMAHead', num_heads=8, dropout=0.5, attention_dropout=0.5))
