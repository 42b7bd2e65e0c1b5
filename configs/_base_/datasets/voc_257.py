# Any folder in the layout of VOC 2012 at 257 x 257 (32 k + 1: every map of a stride-32 network has a pixel at each
# border), 1-way 1-shot. Where the data is: the two lines below, or the environment variables they name.
data_root = '{{$VOC_ROOT:data/VOCdevkit/VOC2012}}'
split_dir = '{{$VOC_SPLITS:data/splits/pascal}}'
dataset_type = 'Pascal5iDataset'

load_and_resize = [
    dict(type='LoadEpisodeImage'),
    dict(type='LoadClassMask'),
    dict(type='ResizeEpisodeImage', scale=(257, 257)),
]
train_pipeline = [
    dict(type='ForEachImage', transforms=[*load_and_resize, dict(type='RandomFlip', prob=0.5)]),
    dict(type='PackEpisodeInputs'),
]
pipeline = [dict(type='ForEachImage', transforms=load_and_resize), dict(type='PackEpisodeInputs')]

train_dataloader = dict(
    batch_size=8,
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
        # Classes uniformly: in a small folder they differ much in size, and some may be missing.
        sampler=dict(type='UniformEpisodeSampler', order='class', seed=0, small_classes='skip'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split_dir=split_dir,
        split='val',
        # Training classes: what is chosen by validation is not chosen on the tested ones.
        classes_of='train',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=200, seed=1, small_classes='skip'),
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
        sampler=dict(type='UniformEpisodeSampler', num_episodes=1000, seed=0, small_classes='skip'),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
