_base_ = './resnet50_lung.py'

# Layers share reference rows as in the released model, see `DMTNetHead`.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VGG',
        depth=16,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.pytorch.org/models/vgg16-397923af.pth',
            prefix='backbone.')),
    head=dict(references='published'))
