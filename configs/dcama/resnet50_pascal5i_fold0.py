_base_ = [
    '../_base_/models/dcama_r50.py', '../_base_/datasets/pascal5i_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=48)
train_cfg = dict(max_iters=36000, val_interval=180)  # about 200 passes, validation after each
