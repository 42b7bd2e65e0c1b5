# HSNet with VGG-16, frozen (weights: configs/hsnet/README.md). Three levels are read: strides 8, 16 and 32.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='mmpretrain.VGG',
        depth=16,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.pytorch.org/models/vgg16-397923af.pth',
            prefix='backbone.')),
    features=dict(num_levels=3),
    frozen_backbone=True,
    head=dict(type='HSNetHead', shots='vote'))
