# Small enough for a CPU: ViT-S/16 at 512 x 512. The paper has no number for it.
_base_ = './dinov3-l_pascal5i_fold0.py'

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(512, 512)),
        ]),
    dict(type='PackEpisodeInputs'),
]

model = dict(
    backbone=dict(
        model_name='vit_small_patch16_dinov3',
        init_cfg=dict(checkpoint='checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth')),
    features=dict(num_components=None))  # a share of the 384 channels
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
