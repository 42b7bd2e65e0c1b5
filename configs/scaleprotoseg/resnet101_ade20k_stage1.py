_base_ = [
    '../_base_/models/scaleproto_r101.py', '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(
        num_classes=150,
        regularizers=[
            dict(type='JeffreysDiversityLoss', loss_weight=0.25),
            dict(type='OffClassL1Loss', loss_weight=1e-5),
        ]))

train_cfg = dict(val_interval=10105)
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=30000)),
    joint=dict(
        train_cfg=dict(max_iters=300000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook', dataset={{_base_.push_dataset}}, num_workers=4)]),
    last_layer=dict(train_cfg=dict(max_iters=20000)))
randomness = dict(seed=20220227)
