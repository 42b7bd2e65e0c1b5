# A small backbone, trained on the training classes of a fold of shapes only, by MMSegmentation's dense classification.
# resnet18_shapes_fold0.pth in this folder was made by
#   python tools/train.py configs/backbones/resnet18_shapes_fold0.py --amp
#   python tools/model_converters/publish_backbone.py \
#       work_dirs/backbones/resnet18_shapes_fold0/iter_3000.pth configs/backbones/resnet18_shapes_fold0.pth
_base_ = ['../_base_/default_runtime.py']

width = 24
num_classes = 49  # background and 48 training classes

head = dict(
    type='StridedFCNHead',
    num_convs=0,
    concat_input=False,
    dropout_ratio=0.1,
    num_classes=num_classes,
    norm_cfg=dict(type='BN'),
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(128, 128),
        seg_pad_val=255),
    backbone=dict(
        type='mmpretrain.ResNet', depth=18, stem_channels=width, base_channels=width, out_indices=(1, 2, 3)),
    decode_head=dict(**head, in_channels=4 * width, channels=4 * width, in_index=1),
    auxiliary_head=[
        dict(**head, in_channels=2 * width, channels=2 * width, in_index=0),
        dict(**head, in_channels=8 * width, channels=8 * width, in_index=2),
    ],
    test_cfg=dict(mode='whole'))

train_dataloader = dict(
    batch_size=16,
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='BaseClassDataset',
        dataset=dict(type='ShapesDataset', data_root='data/shapes', split='train', fold=0),
        pipeline=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='RandomResize', scale=(128, 128), ratio_range=(0.8, 1.3), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(128, 128)),
            dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
            dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ]))

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01))
max_iters = 3000
param_scheduler = dict(type='OneCycleLR', eta_max=4e-3, by_epoch=False)
train_cfg = dict(type='EpisodeTrainLoop', max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=1000, save_best=None))
