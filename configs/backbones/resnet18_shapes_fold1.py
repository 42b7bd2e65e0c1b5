_base_ = './resnet18_shapes_fold0.py'

train_dataloader = dict(dataset=dict(dataset=dict(fold=1)))
