_base_ = [
    '../_base_/models/scaleproto_r101.py', '../_base_/datasets/voc12aug_321.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(
    msc_scales=(0.5, 0.75),
    data_preprocessor=dict(size=(321, 321)),
    decode_head=dict(num_classes=21))

train_cfg = dict(val_interval=5291)
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=15000)),
    joint=dict(
        train_cfg=dict(max_iters=150000),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook', dataset={{_base_.push_dataset}}, num_workers=4)]),
    last_layer=dict(train_cfg=dict(max_iters=30000)))
randomness = dict(seed=20220227)
