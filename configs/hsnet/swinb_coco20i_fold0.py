_base_ = [
    '../_base_/models/hsnet_swinb.py', '../_base_/datasets/coco20i_384.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=40)
train_cfg = dict(max_iters=650000, val_interval=1860)  # about 350 passes, validation after each
auto_scale_lr = dict(base_batch_size=40)
