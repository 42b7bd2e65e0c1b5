# All phases take minutes on a CPU, so learning rates are higher than the published ones.
_base_ = [
    '../_base_/models/scaleproto_resnet18.py', '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(backbone=dict(init_cfg=dict(checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold0.pth')))

optim_wrapper = dict(
    optimizer=dict(lr=1e-2, weight_decay=1e-4),
    accumulative_counts=1,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.08))))
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=50, val_interval=50)),
    joint=dict(
        train_cfg=dict(max_iters=700, val_interval=700),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook')]),
    last_layer=dict(
        train_cfg=dict(max_iters=50, val_interval=50), optim_wrapper=dict(optimizer=dict(lr=1e-3))))
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
