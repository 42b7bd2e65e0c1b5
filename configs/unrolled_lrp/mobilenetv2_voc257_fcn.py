# Baseline: MMSegmentation's plain head on the same backbone and the same masks.
_base_ = ['mobilenetv2_voc257.py']

model = dict(
    _delete_=True,
    type='EncoderDecoder',
    data_preprocessor={{_base_.model.data_preprocessor}},
    backbone={{_base_.model.backbone}},
    decode_head=dict(
        type='FCNHead',
        in_channels=1280,
        channels=96,
        num_classes=21,
        num_convs=1,
        concat_input=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)),
    test_cfg=dict(mode='whole'))
train_dataloader = dict(dataset=dict(labelled_share=1.0))
train_cfg = dict(max_iters=700, val_interval=700)
phases = None
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU'])]
test_evaluator = val_evaluator
