# Any folder in the layout of VOC 2012 at 417 x 417 (32 k + 1, as the weights' padding expects), on a CPU.
_base_ = [
    '../_base_/models/insid3_efficientnet-lite2.py', '../_base_/datasets/voc_257.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(417, 417)),
        ]),
    dict(type='PackEpisodeInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
