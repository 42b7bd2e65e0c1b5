_base_ = [
    '../_base_/models/hsnet_r101.py', '../_base_/datasets/fss1000_400.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=20)
train_cfg = dict(max_iters=208000, val_interval=260)  # 800 passes, validation after each
