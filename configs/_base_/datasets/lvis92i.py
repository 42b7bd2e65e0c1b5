# LVIS-92i, a test of any model through its own pipeline; folders and rules: see mmfss.datasets.LVIS92iDataset.
#   python tools/test.py CONFIG CHECKPOINT --test-data configs/_base_/datasets/lvis92i.py --shots 5 \
#       --cfg-options test_dataloader.dataset.fold=3
test_dataloader = dict(
    batch_size=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='LVIS92iDataset',
        data_root='data/lvis',
        split='test',
        fold=0,
        num_ways=1,
        num_shots=1,
        sampler=dict(type='LVIS92iSampler', seed=0)))
test_evaluator = dict(type='EpisodicIoU')
