# The same backbone with MMSegmentation's plain head, trained as long as stage 1: what interpretability costs.
_base_ = [
    '../_base_/models/scaleproto_efficientnet-lite2.py', '../_base_/datasets/own_labels_257.py',
    '../_base_/schedules/fcn_short.py', '../_base_/default_runtime.py'
]

model = dict(
    type='EncoderDecoder',
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=[120, 352],
        in_index=[0, 1],
        input_transform='resize_concat',
        channels=128,
        num_classes={{_base_.num_classes}},
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)))

default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
