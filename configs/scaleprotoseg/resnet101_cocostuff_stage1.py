_base_ = [
    '../_base_/models/scaleproto_r101.py', '../_base_/datasets/coco_stuff182_321.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(
    msc_scales=(0.5, 0.75),
    data_preprocessor=dict(size=(321, 321)),
    decode_head=dict(
        num_classes=182,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-5),
        ]))

optim_wrapper = dict(accumulative_counts=1)
train_cfg = dict(val_interval=2000)
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=6000)),
    joint=dict(
        train_cfg=dict(max_iters=100000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook', num_workers=4)]),
    last_layer=dict(train_cfg=dict(max_iters=4000)))
randomness = dict(seed=20220227)
