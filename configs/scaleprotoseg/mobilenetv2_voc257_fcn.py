# The same backbone with MMSegmentation's plain head, trained as long as stage 1: what interpretability costs.
_base_ = [
    '../_base_/models/scaleproto_mobilenetv2.py', '../_base_/datasets/voc_semantic_257.py',
    '../_base_/schedules/fcn_short.py', '../_base_/default_runtime.py'
]

model = dict(
    type='EncoderDecoder',
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=320,
        channels=128,
        num_classes=21,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)))

default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
