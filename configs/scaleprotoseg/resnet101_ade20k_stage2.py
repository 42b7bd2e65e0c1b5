_base_ = [
    '../_base_/models/scaleproto_r101_groups.py', '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/scaleproto_stage2.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(
        num_classes=150,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-4),
            dict(type='GroupEntropyLoss', loss_weight=0.25),
        ]))

load_from = '{stage1}/joint/pushed.pth'
train_cfg = dict(val_interval=10105)
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=10000)),
    group_joint=dict(
        train_cfg=dict(max_iters=150000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
randomness = dict(seed=20220227)
