_base_ = [
    '../_base_/models/hsnet_r50.py', '../_base_/datasets/pascal5i_400.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=20)
train_cfg = dict(max_iters=285000, val_interval=570)  # about 500 passes, validation after each
