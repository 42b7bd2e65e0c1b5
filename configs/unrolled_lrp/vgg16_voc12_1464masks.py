_base_ = ['resnet50_voc12_1464masks.py']

weights = 'https://download.openmmlab.com/mmclassification/v0/vgg/vgg16_batch256_imagenet_20210208-db26f1a5.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VGG',
        depth=16,
        init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.')),
    cls_head=dict(
        _delete_=True,
        type='VGGClassifier',
        num_classes=21,
        hidden_init_cfg=dict(type='Pretrained', checkpoint=weights, prefix='backbone.classifier.')))
