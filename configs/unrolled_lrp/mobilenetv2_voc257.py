# Real photographs on a CPU by the generic path: gradient x input of MobileNetV2, batch norm in eval mode. Image-level
# labels are a CSV file, made from the masks by
#   python tools/dataset_converters/image_labels.py data/VOCdevkit/VOC2012/SegmentationClassAug data/image_labels.csv
_base_ = [
    '../_base_/models/scaleproto_mobilenetv2.py', '../_base_/datasets/voc_semantic_257.py',
    '../_base_/default_runtime.py', '../_base_/schedules/unrolled_lrp.py'
]

num_classes = 21
model = dict(
    _delete_=True,
    type='UnrolledLRPSegmentor',
    data_preprocessor={{_base_.model.data_preprocessor}},
    backbone=dict(
        type='mmpretrain.MobileNetV2',
        out_indices=(7, ),
        init_cfg={{_base_.model.backbone.init_cfg}}),
    cls_head=dict(type='PooledClassifier', in_channels=1280, num_classes=num_classes),
    decode_head=dict(type='GradientInputHead'))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPartialAnnotations'),
    dict(type='SquareCrop', size=257, random=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackPartialLabels', num_classes=num_classes),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(257, 257), keep_ratio=False),
    dict(type='LoadPartialAnnotations'),
    dict(type='PackPartialLabels', num_classes=num_classes),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='PartialLabelDataset',
        dataset=dict(
            type='PascalVOCDataset',
            data_root={{_base_.data_root}},
            ann_file='ImageSets/Segmentation/trainaug.txt',
            data_prefix={{_base_.data_prefix}},
            pipeline=train_pipeline),
        image_labels='data/image_labels.csv',
        mask_share=0.05,
        uniform=1.0,
        batch_size=8))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU']), dict(type='ImageLabelMetric'), dict(type='RelevanceMetric')
]
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_iters=400, val_interval=400)
phases = dict(stage1=dict(train_cfg=dict(max_iters=300, val_interval=300)))
# The validation images are those of the test: no checkpoint is chosen on them.
default_hooks = dict(checkpoint=dict(save_best=None, interval=100))
