_base_ = [
    '../_base_/models/hsnet_r50.py', '../_base_/datasets/pascal5i_400.py',
    '../_base_/schedules/hsnet_adam.py', '../_base_/default_runtime.py'
]

# 1 x 1 adapters at the strides 8, 16 and 32 and a temperature are trained. Not a published training: validation shows
# training classes.
model = dict(head=dict(_delete_=True, type='PrototypeMatchingHead', mode='cosine'))

train_dataloader = dict(batch_size=20)
val_dataloader = dict(
    dataset=dict(
        classes_of='train',
        sampler=dict(_delete_=True, type='UniformEpisodeSampler', num_episodes=1000, seed=1, small_classes='skip')))
train_cfg = dict(max_iters=5700, val_interval=570)
