_base_ = [
    '../_base_/models/dmtnet_r50.py', '../_base_/datasets/shapes_128.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# The backbone saw the training classes of this fold only; how it was made is in
# configs/backbones/resnet18_shapes_fold0.py.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet',
        depth=18,
        stem_channels=24,
        base_channels=24,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{ fileDirname }}/../backbones/resnet18_shapes_fold0.pth',
            prefix='backbone.')))

train_cfg = dict(max_iters=400, val_interval=400)
