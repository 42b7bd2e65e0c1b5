_base_ = [
    '../_base_/models/dcama_r50.py', '../_base_/datasets/pascal5i_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone.')))
train_dataloader = dict(batch_size=48)
train_cfg = dict(max_iters=36000, val_interval=180)
