_base_ = [
    '../_base_/backbones/dinov3-s.py', '../_base_/datasets/coco20i_400.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Three scales, at strides 8, 16 and 32.
model = dict(
    features=dict(scales=(2, 1, 0.5)), head=dict(type='FewShotScaleProtoHead', foreground_weight=3.))
train_dataloader = dict(batch_size=8)
# Not a published training: validation shows training classes, so that the best checkpoint is not chosen on tested ones.
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
train_cfg = dict(max_iters=20000, val_interval=2000)
