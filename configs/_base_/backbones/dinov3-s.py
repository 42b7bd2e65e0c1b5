# A few-shot model on DINOv3 ViT-S/16, frozen, which a config completes with a head. timm comes with
# `pip install "mmfss[dinov3]"`; the weights are gated (DINOv3 License), see docs/en/without_training.md.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='TIMMVisionTransformer',
        model_name='vit_small_patch16_dinov3',
        init_cfg=dict(type='TIMMWeights', checkpoint='checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth')),
    frozen_backbone=True)
