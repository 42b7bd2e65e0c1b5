# Stage 2 of scaleproto_r101.py: groups of prototypes, trained from the pushed model of stage 1.
_base_ = './scaleproto_r101.py'

model = dict(
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type='ScaleProtoGroupHead',
        num_groups=3,
        regularizers=[
            dict(type='OffClassL1Loss', loss_weight=1e-3),
            dict(type='GroupEntropyLoss', loss_weight=0.05),
        ]))
