# FSS-1000 at 400 x 400, 1-way 1-shot, see fss1000_384.py.
_base_ = './fss1000_384.py'

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

train_dataloader = dict(batch_size=20, dataset=dict(pipeline=pipeline))  # as in the published training of HSNet
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
