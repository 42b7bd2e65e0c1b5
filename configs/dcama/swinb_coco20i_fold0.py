_base_ = [
    '../_base_/models/dcama_swinb.py', '../_base_/datasets/coco20i_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=48)
train_cfg = dict(max_iters=135000, val_interval=1500)  # about 90 passes, validation after each
