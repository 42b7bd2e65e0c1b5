_base_ = ['../_base_/backbones/dinov3-s.py', '../_base_/datasets/coco20i_512.py', '../_base_/default_runtime.py']

# FSSDINO: the last block before the final norm, 5 prototypes of a class, maps enlarged to the image. The published
# clustering starts at random cells: head.start='random'.
model = dict(
    backbone=dict(
        model_name='vit_base_patch16_dinov3',
        init_cfg=dict(checkpoint='checkpoints/dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth')),
    features=dict(type='TIMMFeatures', scales=[1], indices=[-1], norm=False),
    head=dict(type='PrototypeMatchingHead', mode='gram', upsample=16))

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
