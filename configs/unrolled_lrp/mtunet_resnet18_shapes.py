# Baseline: a U-Net with a mirrored decoder and the same classifier, data, losses and updates.
_base_ = ['resnet18_shapes.py']

model = dict(
    type='MirrorUNetSegmentor',
    backbone=dict(out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        _delete_=True,
        type='MirrorUNetHead',
        in_channels=(16, 16, 32, 64, 128),
        depths=(1, 2, 2, 2, 2),
        num_classes=17))
# The decoder has no part in stage 1.
phases = dict(stage1=dict(find_unused_parameters=True))
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='ImageLabelMetric')]
test_evaluator = val_evaluator
