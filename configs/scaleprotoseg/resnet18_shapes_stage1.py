_base_ = [
    '../_base_/models/scaleproto_resnet18.py', '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/scaleproto_stage1_short.py', '../_base_/default_runtime.py'
]

model = dict(backbone=dict(init_cfg=dict(checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold0.pth')))

optim_wrapper = dict(
    optimizer=dict(lr=1e-2), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.08))))
phases = dict(joint=dict(train_cfg=dict(max_iters=700, val_interval=700)))
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
