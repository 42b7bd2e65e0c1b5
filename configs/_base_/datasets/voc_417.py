# Any folder in the layout of VOC 2012 at 417 x 417 (32 k + 1), see voc_257.py.
_base_ = './voc_257.py'

load_and_resize = [
    dict(type='LoadEpisodeImage'),
    dict(type='LoadClassMask'),
    dict(type='ResizeEpisodeImage', scale=(417, 417)),
]
train_pipeline = [
    dict(type='ForEachImage', transforms=[*load_and_resize, dict(type='RandomFlip', prob=0.5)]),
    dict(type='PackEpisodeInputs'),
]
pipeline = [dict(type='ForEachImage', transforms=load_and_resize), dict(type='PackEpisodeInputs')]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
