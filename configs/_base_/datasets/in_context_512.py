# In-context training at 512 x 512: the training parts of COCO, ADE20K and PASCAL VOC with all their classes, mixed by
# their numbers of images (a choice of this package). Validation on training images of COCO; tests on COCO-20i, whose
# classes were trained on. Lists of ADE20K are built at the start: it reads 20,210 masks.
_base_ = './coco20i_512.py'

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
episodes = dict(
    split='train',
    fold=None,
    num_ways=1,
    num_shots=1,
    min_pixels=1024,
    sampler=dict(type='UniformEpisodeSampler', order='class', seed=0, small_classes='skip'),
    pipeline=pipeline)
coco = dict(
    type='EpisodicDataset',
    dataset_name='COCO',
    index=dict(
        type='CocoInstanceIndex',
        data_root='data/coco2014',
        ann_file='annotations/instances_train2014.json',
        img_dir='train2014'),
    **episodes)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='EpisodeMixture',
        weights=None,
        seed=0,
        datasets=[
            coco,
            dict(
                type='EpisodicDataset',
                dataset_name='ADE20K',
                index=dict(type='ADE20KIndex', data_root='data/ade/ADEChallengeData2016', part='training'),
                **episodes),
            dict(
                type='EpisodicDataset',
                dataset_name='PASCAL VOC',
                index=dict(
                    type='PascalVOCIndex',
                    data_root='data/VOCdevkit/VOC2012',
                    image_set='ImageSets/Segmentation/trainaug.txt'),
                **episodes),
        ]))
val_dataloader = dict(
    dataset=dict(_delete_=True, **{**coco, 'sampler': dict(type='UniformEpisodeSampler', num_episodes=200, seed=1)}))
