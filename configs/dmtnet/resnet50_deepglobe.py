_base_ = [
    '../_base_/models/dmtnet_r50.py', '../_base_/datasets/deepglobe_400.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

# The training is that of resnet50_fss1000.py, and so is the checkpoint to test.
train_dataloader = dict(batch_size=24)
train_cfg = dict(max_iters=11400, val_interval=570)
auto_scale_lr = dict(base_batch_size=24)
