# INSID3 with DINOv3 ViT-L/16 (weights: configs/insid3/README.md). There is nothing to train. The schedules of its
# configs serve an adapter (head.adapter_channels with features.compact=False).
_base_ = '../backbones/dinov3-s.py'

model = dict(
    backbone=dict(
        model_name='vit_large_patch16_dinov3',
        init_cfg=dict(checkpoint='checkpoints/dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth')),
    # The last block after the final norm, at the patch grid.
    features=dict(
        type='DebiasedFeatures',
        reader=dict(type='TIMMFeatures', scales=[1], indices=[-1], norm=True),
        num_components=500),
    head=dict(type='INSID3Head', similarity=0.6, merge_threshold=0.2))
