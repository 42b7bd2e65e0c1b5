# The embedded shapes: a few label maps, and for all images the families of the objects in them.
_base_ = ['shapes_semantic_128.py']

num_classes = 17
train_pipeline = [
    dict(type='LoadEpisodeImage'),
    dict(type='LoadPartialAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackPartialLabels', num_classes=num_classes),
]
test_pipeline = [
    dict(type='LoadEpisodeImage'),
    dict(type='LoadPartialAnnotations'),
    dict(type='PackPartialLabels', num_classes=num_classes),
]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type='PartialLabelDataset',
        dataset=dict(type='ShapesSegDataset', data_root='data/shapes', part='train', pipeline=train_pipeline),
        mask_share=0.05,
        batch_size=16,
        labelled_share=0.5))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='ImageLabelMetric'), dict(type='RelevanceMetric')
]
test_evaluator = val_evaluator
