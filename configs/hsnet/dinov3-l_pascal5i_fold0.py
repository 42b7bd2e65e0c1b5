_base_ = './dinov3-s_pascal5i_fold0.py'

model = dict(
    backbone=dict(
        model_name='vit_large_patch16_dinov3',
        init_cfg=dict(checkpoint='checkpoints/dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth')))
