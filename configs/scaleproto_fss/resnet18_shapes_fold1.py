_base_ = './resnet18_shapes_fold0.py'

# Made by training configs/backbones/resnet18_shapes_fold1.py, see there.
model = dict(backbone=dict(init_cfg=dict(checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold1.pth')))
train_dataloader = dict(dataset=dict(fold=1))
val_dataloader = dict(dataset=dict(fold=1))
test_dataloader = dict(dataset=dict(fold=1))
