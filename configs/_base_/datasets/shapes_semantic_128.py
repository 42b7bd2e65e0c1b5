# The embedded shapes, a label for every pixel: background and sixteen families of patterns.
data_root = 'data/shapes'
dataset_type = 'ShapesSegDataset'
meta_keys = ('img_path', 'ori_shape', 'img_shape')

train_pipeline = [
    dict(type='LoadEpisodeImage'),
    dict(type='RandomScale', ratio_range=(0.8, 1.3)),
    dict(type='RandomCrop', crop_size=(128, 128)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
pipeline = [dict(type='LoadEpisodeImage'), dict(type='PackSegInputs', meta_keys=meta_keys)]

train_dataloader = dict(
    batch_size=16,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='RepeatableDataset',
        dataset=dict(type=dataset_type, data_root=data_root, part='train', pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=16,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, part='val', pipeline=pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
