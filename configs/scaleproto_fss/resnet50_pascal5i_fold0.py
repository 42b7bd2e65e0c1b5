_base_ = [
    '../_base_/models/scaleproto_fss_r50.py', '../_base_/datasets/pascal5i_400.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

train_dataloader = dict(batch_size=8)
# Not a published training: validation shows training classes, so that the best checkpoint is not chosen on tested ones.
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
train_cfg = dict(max_iters=20000, val_interval=2000)
