# A model of resnet50_voc12_*masks.py by the usual protocol: whole images at their own size, void left out.
#   python tools/test.py configs/unrolled_lrp/resnet50_voc12_usual_protocol.py CHECKPOINT
_base_ = ['resnet50_voc12_1464masks.py']

test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadPartialAnnotations', void='ignore'),
            dict(type='PackPartialLabels', num_classes=21),
        ]))
test_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='ImageLabelMetric'), dict(type='RelevanceMetric')
]
