# VOC 2012: few masks, and image-level labels (XML) of all 15,676 images outside of the segmentation val set.
data_root = '{{$VOC_ROOT:data/VOCdevkit/VOC2012}}'
num_classes = 21

# Void is background, in training and in testing, as published.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPartialAnnotations', void='background'),
    dict(type='SquareCrop', size=256, random=True),
    dict(type='RandomApply', transforms=[dict(type='RandomDefocus', radius=(1, 5))], prob=0.5),
    dict(type='RandomBrightnessContrast', brightness=(-0.2, 0.2), contrast=(-0.2, 0.2)),
    # The published code leaves the ranges to its library, whose hue has changed: 0.2 of the circle is assumed.
    dict(
        type='RandomApply',
        transforms=[
            dict(
                type='mmpretrain.ColorJitter', brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2),
                hue=(-0.2, 0.2), backend='cv2')
        ],
        prob=0.5),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomApply', transforms=[dict(type='RandomGaussianNoise', variance=(10., 50.))], prob=0.5),
    dict(type='PackPartialLabels', num_classes=num_classes),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPartialAnnotations', void='background'),
    dict(type='SquareCrop', size=256, as_original=True),
    dict(type='PackPartialLabels', num_classes=num_classes),
]

train_dataloader = dict(
    batch_size=10,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='PartialLabelDataset',
        dataset=dict(type='VOCPartialDataset', data_root=data_root, num_images=15676, pipeline=train_pipeline),
        num_masks=None,
        uniform=0.0,
        batch_size=10,
        labelled_share=0.5,
        order='release',
        seed=42))
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='SummedIoUMetric'), dict(type='ImageLabelMetric'), dict(type='RelevanceMetric')]
test_evaluator = val_evaluator
