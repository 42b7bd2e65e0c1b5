_base_ = './resnet50_deepglobe.py'

# Layers share reference rows as in the released model, see `DMTNetHead`.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VGG',
        depth=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vgg16_torchvision.pth', prefix='backbone.')),
    head=dict(references='published'))
