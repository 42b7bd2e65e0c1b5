# COCO-Stuff 164k with its 182 raw ids (11 of them unused), crops of 321; tested at native size.
_base_ = './semantic_crops.py'
data_root = 'data/coco_stuff164k'
dataset_type = 'COCOStuff182Dataset'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomScale', ratio_range=(0.5, 1.5)),
    dict(type='RandomCrop', crop_size=(321, 321)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=_base_.meta_keys),
]

train_dataloader = dict(
    batch_size=10,
    dataset=dict(
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017'),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017')))
test_dataloader = val_dataloader
