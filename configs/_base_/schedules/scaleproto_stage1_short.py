# Stage 1 on a CPU: fewer iterations and higher learning rates than published.
_base_ = './scaleproto_stage1.py'

optim_wrapper = dict(
    optimizer=dict(lr=5e-3, weight_decay=1e-4),
    accumulative_counts=1,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.02))))
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=50, val_interval=50)),
    joint=dict(
        train_cfg=dict(max_iters=500, val_interval=500),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook')]),
    last_layer=dict(
        train_cfg=dict(max_iters=50, val_interval=50), optim_wrapper=dict(optimizer=dict(lr=1e-3))))
