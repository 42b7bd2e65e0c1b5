_base_ = [
    '../_base_/models/scaleproto_mobilenetv2.py', '../_base_/datasets/voc_semantic_257.py',
    '../_base_/schedules/scaleproto_stage2.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='ScaleProtoGroupHead',
        num_groups=3,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-3),
            dict(type='GroupEntropyLoss', loss_weight=0.05),
        ]))

load_from = '{stage1}/joint/pushed.pth'
optim_wrapper = dict(optimizer=dict(lr=3e-2), accumulative_counts=1)
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=50, val_interval=50)),
    group_joint=dict(
        train_cfg=dict(max_iters=350, val_interval=350),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
