# The same backbone with MMSegmentation's plain head, trained as long as stage 1: what interpretability costs.
_base_ = [
    '../_base_/models/scaleproto_resnet18.py', '../_base_/datasets/shapes_semantic_128.py',
    '../_base_/schedules/fcn_short.py', '../_base_/default_runtime.py'
]

model = dict(
    type='EncoderDecoder',
    backbone=dict(init_cfg=dict(checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold0.pth')),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=96,
        channels=96,
        num_classes=17,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)))

optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    # The backbone learns as fast as in stage 1.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.4))))
train_cfg = dict(max_iters=800, val_interval=800)
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
