_base_ = [
    '../_base_/models/scaleproto_r101_groups.py', '../_base_/datasets/coco_stuff182_321.py',
    '../_base_/schedules/scaleproto_stage2.py', '../_base_/default_runtime.py'
]

model = dict(
    msc_scales=(0.5, 0.75),
    data_preprocessor=dict(size=(321, 321)),
    decode_head=dict(
        num_classes=182,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-4),
            dict(type='GroupEntropyLoss', loss_weight=0.25),
        ]))

load_from = '{stage1}/joint/pushed.pth'
optim_wrapper = dict(accumulative_counts=1)
train_cfg = dict(val_interval=2000)
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=2000)),
    group_joint=dict(
        train_cfg=dict(max_iters=30000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
randomness = dict(seed=20220227)
