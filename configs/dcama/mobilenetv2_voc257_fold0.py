_base_ = [
    '../_base_/models/dcama_r50.py', '../_base_/datasets/voc_257.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Reading MobileNetV2 on a CPU: the head is trained without attention dropout, which would take most of the time there.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',
            prefix='backbone.')),
    head=dict(dropout=0.1, attention_dropout=0.))
