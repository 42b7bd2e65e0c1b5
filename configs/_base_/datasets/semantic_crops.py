# Semantic segmentation of all classes: trained on crops, tested at native size. The config of a dataset adds
# `train_pipeline`, with the size of its crops, and where the images are.
meta_keys = ('img_path', 'ori_shape', 'img_shape')

# Labels are loaded after resizing: they keep their size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(type='RepeatableDataset', seed=20220227))
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
