# Stage 2 of efficientnet-lite2_own_stage1.py, with the same data.
_base_ = [
    '../_base_/models/scaleproto_efficientnet-lite2.py', '../_base_/datasets/own_labels_257.py',
    '../_base_/schedules/scaleproto_stage2_short.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='ScaleProtoGroupHead',
        num_classes={{_base_.num_classes}},
        num_groups=3,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-3),
            dict(type='GroupEntropyLoss', loss_weight=0.05),
        ]))

# The groups of a class sum up what its many prototypes did before: their weights have far to go.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'decode_head.group_classifier': dict(lr_mult=30.)}))
load_from = '{stage1}/joint/pushed.pth'
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
