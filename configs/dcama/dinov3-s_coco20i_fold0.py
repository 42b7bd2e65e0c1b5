_base_ = [
    '../_base_/backbones/dinov3-s.py', '../_base_/datasets/coco20i_384.py',
    '../_base_/schedules/dcama_sgd.py', '../_base_/default_runtime.py'
]

model = dict(head=dict(type='DCAMAHead', num_heads=8, dropout=0.5, attention_dropout=0.5))
train_dataloader = dict(batch_size=48)
# Not a published training: validation shows training classes, so that the best checkpoint is not chosen on tested ones.
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
train_cfg = dict(max_iters=135000, val_interval=1500)
