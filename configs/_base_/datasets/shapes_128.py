# The embedded shapes at 128 x 128, 1-way 1-shot; the data is made under data_root on first use. Folders and folds:
# see mmfss.datasets.ShapesDataset. A fold config sets `fold` in the three loaders; `num_shots` and `num_ways` are set
# there too.
dataset_type = 'ShapesDataset'
data_root = 'data/shapes'

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(128, 128)),
        ]),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(
    batch_size=8,
    collate_fn=dict(type='mmfss.stack_episodes'),
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', order='class', seed=0),
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        # Training classes: what is chosen by validation is not chosen on the tested ones.
        classes_of='train',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=200, seed=1),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=400, seed=0),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
