# Your own classes without training, on a CPU: the model of demo/image_demo.py. Where the class folders are and which of
# them count: the first two lines, or the environment variables OWN_ROOT and OWN_CLASSES. See docs/en/own_data.md.
_base_ = ['./efficientnet-lite2_voc417_fold0.py']
data_root = '{{$OWN_ROOT:data/my_data}}'
classes = '{{$OWN_CLASSES:all}}'

own = dict(
    type='ImageFolderDataset',
    data_root=data_root,
    class_ids=None if classes == 'all' else classes.split(','),
    fold=None,
    num_folds=1,
    num_ways=1,
    num_shots=1,
    pipeline={{_base_.pipeline}})
sampler = dict(type='UniformEpisodeSampler', num_episodes=1000, seed=0)

train_dataloader = dict(dataset=dict(_delete_=True, **own, split='train', sampler=sampler))
val_dataloader = dict(dataset=dict(_delete_=True, **own, split='val', sampler=sampler))
test_dataloader = dict(dataset=dict(_delete_=True, **own, split='test', sampler=sampler))
