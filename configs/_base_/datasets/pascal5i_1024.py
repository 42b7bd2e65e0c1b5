# PASCAL-5i at 1024 x 1024, 1-way 1-shot, see pascal5i_384.py; validation shows training classes.
_base_ = './pascal5i_384.py'

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(1024, 1024)),
        ]),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        classes_of='train',
        pipeline=pipeline,
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
test_dataloader = dict(batch_size=1, dataset=dict(pipeline=pipeline))
