# Your own pictures with a label for every pixel: images/{train,val} and labels/{train,val} below `data_root`. The names
# of the label values 0, 1, ... follow; a single name is that of the value 1, and 0 is the background.
data_root = '{{$OWN_ROOT:data/my_scenes}}'
classes = '{{$OWN_CLASSES:object}}'.split(',')

num_classes = max(2, len(classes))
dataset_type = 'LabelFolderDataset'
meta_keys = ('img_path', 'ori_shape', 'img_shape')

# The longer side becomes 513 pixels, in training 0.75 to 1.5 times as many, of which 257 x 257 are seen (32 k + 1:
# every map of a strided network has a pixel at each border).
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(513, 513), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(257, 257), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
# Labels are loaded after resizing: they keep their size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(513, 513), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='RepeatableDataset',
        dataset=dict(
            type=dataset_type, data_root=data_root, classes=classes, split='train', pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, classes=classes, split='val', pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
