# A folder of your own images at 384 x 384, 1-way 1-shot. Folders: see mmfss.datasets.ImageFolderIndex. The class
# folders are dealt to `num_folds` folds in sorted order, `fold` selects one; `class_ids=['cat', 'dog']` in a loader
# names its classes instead. Photographs and masks are turned upright by EXIF; `upright=True` or `False` in a loader
# says on which view masks were drawn where files do not tell, see docs/en/masks.md.
dataset_type = 'ImageFolderDataset'
data_root = 'data/my_data'

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(384, 384)),
        ]),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(
    batch_size=12,
    collate_fn=dict(type='mmfss.stack_episodes'),
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        fold=0,
        num_folds=4,
        num_ways=1,
        num_shots=1,
        # Every listed image is the query once per epoch.
        sampler=dict(type='UniformEpisodeSampler', order='list', seed=0),
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        # Training classes: what is chosen by validation is not chosen on the tested ones. A folder has no images of its
        # own for validation, so these are the images of training; with many classes, keep some for validation by
        # `class_ids` in the three loaders.
        classes_of='train',
        fold=0,
        num_folds=4,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=1000, seed=1),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        fold=0,
        num_folds=4,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=1000, seed=0),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
