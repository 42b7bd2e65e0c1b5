_base_ = [
    '../_base_/models/unrolled_lrp_r50.py', '../_base_/datasets/voc12_partial_256.py',
    '../_base_/default_runtime.py', '../_base_/schedules/unrolled_lrp.py'
]

train_dataloader = dict(dataset=dict(num_masks=20, uniform=1.0))
# The validation images are those of the test: no checkpoint is chosen on them.
default_hooks = dict(checkpoint=dict(save_best=None, interval=1568))
randomness = dict(seed=42)
