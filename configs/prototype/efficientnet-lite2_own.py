# Your own classes without training, on a CPU: the model of demo/image_demo.py. Class folders: docs/en/own_data.md.
_base_ = ['./efficientnet-lite2_voc417_fold0.py']

own = dict(
    type='ImageFolderDataset',
    data_root='data/my_data',
    fold=None,
    num_folds=1,
    num_ways=1,
    num_shots=1,
    pipeline={{_base_.pipeline}})
sampler = dict(type='UniformEpisodeSampler', num_episodes=1000, seed=0)

train_dataloader = dict(dataset=dict(_delete_=True, **own, split='train', sampler=sampler))
val_dataloader = dict(dataset=dict(_delete_=True, **own, split='val', sampler=sampler))
test_dataloader = dict(dataset=dict(_delete_=True, **own, split='test', sampler=sampler))
