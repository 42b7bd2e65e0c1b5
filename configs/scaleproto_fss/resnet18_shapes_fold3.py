_base_ = './resnet18_shapes_fold0.py'

# Made by training configs/backbones/resnet18_shapes_fold3.py, see there.
model = dict(backbone=dict(init_cfg=dict(checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold3.pth')))
train_dataloader = dict(dataset=dict(fold=3))
val_dataloader = dict(dataset=dict(fold=3))
test_dataloader = dict(dataset=dict(fold=3))
