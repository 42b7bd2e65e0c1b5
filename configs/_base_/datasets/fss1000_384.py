# FSS-1000 at 384 x 384, 1-way 1-shot. Folders: see mmfss.datasets.FSS1000Dataset. There are no folds;
# `num_shots` and `num_ways` are set in the three loaders.
dataset_type = 'FSS1000Dataset'
data_root = 'data/FSS-1000'
split_dir = 'data/splits/fss'

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
    batch_size=10,  # the published training: 40 episodes on 4 devices
    collate_fn=dict(type='mmfss.stack_episodes'),
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split_dir=split_dir,
        split='train',
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
        split='val',
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='fss', seed=0),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split_dir=split_dir,
        split='test',
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='fss', seed=0),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
