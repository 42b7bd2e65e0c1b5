# COCO-20i at 512 x 512, 1-way 1-shot, see coco20i_384.py. Validation shows training classes, so that nothing is chosen
# on tested ones.
_base_ = './coco20i_384.py'

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(512, 512)),
        ]),
    dict(type='PackEpisodeInputs'),
]

train_dataloader = dict(batch_size=1, dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=200, seed=1),
        pipeline=pipeline))
test_dataloader = dict(batch_size=1, dataset=dict(pipeline=pipeline))
