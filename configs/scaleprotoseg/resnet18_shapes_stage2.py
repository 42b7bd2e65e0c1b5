_base_ = [
    '../_base_/models/scaleproto_resnet18.py', '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/scaleproto_stage2_short.py', '../_base_/default_runtime.py'
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
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=100, val_interval=100)),
    group_joint=dict(train_cfg=dict(max_iters=700, val_interval=700)))
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
