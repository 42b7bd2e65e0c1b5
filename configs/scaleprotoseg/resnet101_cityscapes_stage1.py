_base_ = [
    '../_base_/models/scaleproto_r101.py', '../_base_/datasets/cityscapes_513.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(513, 513)),
    decode_head=dict(num_classes=19))

train_cfg = dict(val_interval=1488)
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=15000)),
    joint=dict(
        train_cfg=dict(max_iters=150000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook', num_workers=4)]),
    last_layer=dict(train_cfg=dict(max_iters=10000)))
randomness = dict(seed=20220227)
