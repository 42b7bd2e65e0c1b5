_base_ = './dinov3-s_coco20i_fold0.py'

model = dict(
    backbone=dict(
        model_name='vit_base_patch16_dinov3',
        init_cfg=dict(checkpoint='checkpoints/dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth')))
