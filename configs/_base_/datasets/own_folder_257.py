# Your own class folders (see mmfss.datasets.ImageFolderIndex), all of them or some ("cat,dog"), any number from 1, at
# 257 x 257 (32 k + 1: every map of a strided network has a pixel at each border).
_base_ = './own_folder_384.py'
data_root = '{{$OWN_ROOT:data/my_data}}'
classes = '{{$OWN_CLASSES:all}}'

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

# Every class is trained and tested, a quarter of its images is tested only. With four classes or more, `fold=0` in the
# three loaders tests a quarter of the classes instead, which training does not show.
own = dict(
    data_root=data_root, class_ids=None if classes == 'all' else classes.split(','), fold=None, holdout=0.25)

train_dataloader = dict(
    dataset=dict(
        **own,
        pipeline=train_pipeline,
        # Classes uniformly: they may differ much in size.
        sampler=dict(type='UniformEpisodeSampler', order='class', seed=0)))
val_dataloader = dict(
    dataset=dict(
        **own,
        classes_of=None,
        pipeline=pipeline,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=200, seed=1)))
test_dataloader = dict(dataset=dict(**own, pipeline=pipeline))
