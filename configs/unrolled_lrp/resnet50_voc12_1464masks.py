_base_ = [
    '../_base_/models/unrolled_lrp_r50.py', '../_base_/datasets/voc12_partial_256.py',
    '../_base_/default_runtime.py', '../_base_/schedules/unrolled_lrp.py'
]

train_dataloader = dict(dataset=dict(num_masks=1464, uniform=0.0))
