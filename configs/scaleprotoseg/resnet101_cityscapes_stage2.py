_base_ = [
    '../_base_/models/scaleproto_r101_groups.py', '../_base_/datasets/cityscapes_513.py',
    '../_base_/schedules/scaleproto_stage2.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(513, 513)),
    decode_head=dict(num_classes=19))

load_from = '{stage1}/joint/pushed.pth'
train_cfg = dict(val_interval=1488)
phases = dict(
    group_warmup=dict(train_cfg=dict(max_iters=10000)),
    group_joint=dict(
        train_cfg=dict(max_iters=150000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)]))
randomness = dict(seed=20220227)
