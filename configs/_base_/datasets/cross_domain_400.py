# Cross-domain few-shot segmentation at 400 x 400, 1-way 1-shot: trained on all 20 classes of PASCAL VOC (fold=None),
# validated on the validation categories of FSS-1000, tested on its test categories. deepglobe_400.py, isic_400.py and
# lung_400.py test on the other targets. Folders: see mmfss.datasets.Pascal5iDataset and FSS1000Dataset.
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
    batch_size=12,  # the published training: 24 episodes on 2 devices
    collate_fn=dict(type='mmfss.stack_episodes'),
    sampler=dict(type='EpisodeStream'),
    dataset=dict(
        type='Pascal5iDataset',
        data_root='data/VOCdevkit/VOC2012',
        split_dir='data/splits/pascal',
        split='train',
        fold=None,
        num_ways=1,
        num_shots=1,
        # Every listed image is the query once per epoch.
        sampler=dict(type='UniformEpisodeSampler', order='list', seed=0),
        pipeline=pipeline))
val_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FSS1000Dataset',
        data_root='data/FSS-1000',
        split_dir='data/splits/fss',
        split='val',
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='fss', seed=0),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FSS1000Dataset',
        data_root='data/FSS-1000',
        split_dir='data/splits/fss',
        split='test',
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='fss', seed=0),
        pipeline=pipeline))

val_evaluator = dict(type='EpisodicIoU')
test_evaluator = val_evaluator
