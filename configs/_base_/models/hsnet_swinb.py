# HSNet with Swin-B, patch 4, window 12, 384 pixels, frozen (weights: configs/hsnet/README.md). Three levels are read:
# strides 8, 16 and 32.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='mmpretrain.SwinTransformer',
        arch='base',
        img_size=384,
        window_size=12,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384_22kto1k.pth',
            prefix='backbone.')),
    features=dict(num_levels=3),
    frozen_backbone=True,
    head=dict(type='HSNetHead', shots='vote'))
