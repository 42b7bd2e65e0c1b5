# Baseline: a U-Net with a decoder of its own that mirrors the encoder, and the same classifier, data and losses.
_base_ = ['resnet50_voc12_20masks.py']

model = dict(
    type='MirrorUNetSegmentor',
    backbone=dict(out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        _delete_=True,
        type='MirrorUNetHead',
        in_channels=(64, 256, 512, 1024, 2048),
        depths=(1, 3, 4, 6, 3),
        num_classes=21))
# The decoder has no part in stage 1.
phases = dict(stage1=dict(find_unused_parameters=True))
val_evaluator = [dict(type='SummedIoUMetric'), dict(type='ImageLabelMetric')]
test_evaluator = val_evaluator
