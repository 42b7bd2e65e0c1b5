_base_ = [
    '../_base_/models/dcama_r101.py', '../_base_/datasets/fss1000_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=40)
train_cfg = dict(max_iters=26000, val_interval=130)  # 200 passes, validation after each
auto_scale_lr = dict(base_batch_size=40)
