_base_ = [
    '../_base_/models/dcama_r50.py', '../_base_/datasets/pascal5i_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

# Patches of 14 pixels: the images are 28 patches wide.
pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(392, 392)),
        ]),
    dict(type='PackEpisodeInputs'),
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='dinov2-small',
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpretrain/v1.0/dinov2/vit-small-p14_dinov2-pre_3rdparty_20230426-5641ca5a.pth',
            prefix='backbone.')))
train_dataloader = dict(batch_size=48, dataset=dict(pipeline=pipeline))
# Not a published training: validation shows training classes, so that the best checkpoint is not chosen on tested ones.
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        pipeline=pipeline,
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
train_cfg = dict(max_iters=36000, val_interval=180)
