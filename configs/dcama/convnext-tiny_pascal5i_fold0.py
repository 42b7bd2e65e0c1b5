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
            checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone.')))
train_dataloader = dict(batch_size=48)
# Not a published training: validation shows training classes, so that the best checkpoint is not chosen on tested ones.
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
train_cfg = dict(max_iters=36000, val_interval=180)
