# DeepGlobe land cover as target at 400 x 400, 1-way 1-shot; source and validation: cross_domain_400.py. Folders: see
# mmfss.datasets.DeepGlobeIndex. Papers report the mean over five seeds of 1200 episodes; the released loaders draw 600.
_base_ = './cross_domain_400.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='DeepGlobeDataset',
        data_root='data/Deepglobe',
        split='test',
        num_ways=1,
        num_shots=1,
        sampler=dict(type='PublishedProtocolSampler', benchmark='cross_domain', num_episodes=1200, seed=0),
        pipeline=_base_.pipeline))
