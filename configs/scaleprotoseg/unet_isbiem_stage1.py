_base_ = [
    '../_base_/models/scaleproto_unet.py', '../_base_/datasets/isbi_em_512.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=2))

optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    accumulative_counts=1,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.))))
train_cfg = dict(val_interval=10)
phases = dict(
    warmup=None,
    joint=dict(
        train_cfg=dict(max_iters=10000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook', num_workers=4)]),
    last_layer=dict(
        train_cfg=dict(max_iters=10000),
        custom_hooks=[dict(type='ResumableEarlyStoppingHook', monitor='mIoU', min_delta=0., patience=1000)]))
randomness = dict(seed=20220227)
