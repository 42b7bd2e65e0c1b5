_base_ = [
    '../_base_/models/scaleproto_unet.py', '../_base_/datasets/isbi_em_512.py',
    '../_base_/schedules/scaleproto_stage2.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='ScaleProtoGroupHead',
        num_classes=2,
        num_groups=3,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-4),
            dict(type='GroupEntropyLoss', loss_weight=0.05),
        ]))

load_from = '{stage1}/joint/pushed.pth'
optim_wrapper = dict(optimizer=dict(lr=5e-5), accumulative_counts=1)
train_cfg = dict(val_interval=10)
phases = dict(
    group_warmup=None,
    group_joint=dict(
        train_cfg=dict(max_iters=10000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
randomness = dict(seed=20220227)
