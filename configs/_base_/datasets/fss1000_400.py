# FSS-1000 at 400 x 400, 1-way 1-shot. Folders: see mmfss.datasets.FSS1000Dataset. There are no folds;
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
            dict(type='ResizeEpisodeImage', scale=(400, 400)),
        ]),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(
    batch_size=20,  # as in the published training of HSNet
    num_workers=4,
    persistent_workers=True,
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
    num_workers=4,
    persistent_workers=True,
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
    num_workers=4,
    persistent_workers=True,
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
