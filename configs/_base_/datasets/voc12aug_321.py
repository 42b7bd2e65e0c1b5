# PASCAL VOC 2012 with the extra annotations, crops of 321. Trained on train_aug, pushed on train, tested at 513 x 513
# whatever the shape, as published; for the images' own shape: dict(type='Resize', scale=(2048, 513), keep_ratio=True).
data_root = 'data/VOCdevkit/VOC2012'
dataset_type = 'PascalVOCDataset'
meta_keys = ('img_path', 'ori_shape', 'img_shape')

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomScale', ratio_range=(0.5, 1.5)),
    dict(type='RandomCrop', crop_size=(321, 321)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
# Labels are loaded after resizing: they keep their size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(513, 513), keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
push_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]

train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='RepeatableDataset',
        seed=20220227,
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                dict(
                    type=dataset_type,
                    data_root=data_root,
                    ann_file='ImageSets/Segmentation/train.txt',
                    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
                    pipeline=train_pipeline),
                dict(
                    type=dataset_type,
                    data_root=data_root,
                    ann_file='ImageSets/Segmentation/aug.txt',
                    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
                    pipeline=train_pipeline),
            ])))
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
push_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file='ImageSets/Segmentation/train.txt',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    pipeline=push_pipeline)

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
