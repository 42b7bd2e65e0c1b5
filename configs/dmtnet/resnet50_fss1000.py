_base_ = [
    '../_base_/models/dmtnet_r50.py', '../_base_/datasets/cross_domain_400.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

# Trained on all 20 classes of PASCAL (the four training lists together, 13,680 entries), validated on FSS-1000.
train_dataloader = dict(batch_size=24)
train_cfg = dict(max_iters=11400, val_interval=570)  # 20 passes, validation after each
auto_scale_lr = dict(base_batch_size=24)
