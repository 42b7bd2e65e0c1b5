# Stage 2 on a CPU: fewer iterations and higher learning rates than published.
_base_ = './scaleproto_stage2.py'

optim_wrapper = dict(optimizer=dict(lr=3e-2), accumulative_counts=1)
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=50, val_interval=50)),
    group_joint=dict(
        train_cfg=dict(max_iters=350, val_interval=350),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
