# Any folder in the layout of VOC 2012, all images at 257 x 257 (32 k + 1: every map of a strided network has a pixel at
# each border). Trained on trainaug, tested on val, both with the annotations of SegmentationClassAug.
data_root = '{{$VOC_ROOT:data/VOCdevkit/VOC2012}}'
dataset_type = 'PascalVOCDataset'
data_prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug')
meta_keys = ('img_path', 'ori_shape', 'img_shape')

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomScale', ratio_range=(0.75, 1.25)),
    dict(type='RandomCrop', crop_size=(257, 257)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
# Labels are loaded after resizing: they keep their size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(257, 257), keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='RepeatableDataset',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='ImageSets/Segmentation/trainaug.txt',
            data_prefix=data_prefix,
            pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=data_prefix,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
