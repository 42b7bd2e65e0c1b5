# PASCAL-5i at 384 x 384, 1-way 1-shot. Folders: see mmfss.datasets.Pascal5iDataset. A fold config sets `fold` in the
# three loaders; `num_shots` and `num_ways` are set there too.
dataset_type = 'Pascal5iDataset'
data_root = 'data/VOCdevkit/VOC2012'
split_dir = 'data/splits/pascal'

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
    batch_size=12,  # the published training: 48 episodes on 4 devices
    collate_fn=dict(type='mmfss.stack_episodes'),
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split_dir=split_dir,
        split='train',
        fold=0,
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
        split_dir=split_dir,
        # As published: the classes of the test, see docs/en/choosing_on_validation.md.
        split='val',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='pascal', num_episodes=1000, seed=0),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split_dir=split_dir,
        split='test',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='pascal', num_episodes=1000, seed=0),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
