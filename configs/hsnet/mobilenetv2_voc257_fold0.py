_base_ = [
    '../_base_/models/hsnet_r50.py', '../_base_/datasets/voc_257.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# MobileNetV2 on a CPU; the same training as that of the other methods on this data.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',
            prefix='backbone.')))

train_dataloader = dict(batch_size=4)
train_cfg = dict(val_interval=2000)  # once, after the schedule's 2000 iterations
