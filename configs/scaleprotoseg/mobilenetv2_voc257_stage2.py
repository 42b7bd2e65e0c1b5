_base_ = [
    '../_base_/models/scaleproto_mobilenetv2.py', '../_base_/datasets/voc_semantic_257.py',
    '../_base_/schedules/scaleproto_stage2_short.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='ScaleProtoGroupHead',
        num_groups=3,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-3),
            dict(type='GroupEntropyLoss', loss_weight=0.05),
        ]))

load_from = '{stage1}/joint/pushed.pth'
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
