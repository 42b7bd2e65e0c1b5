# Your own class folders on a CPU, `--amp` advised. Where they are and which classes count: the first two lines of
# ../_base_/datasets/own_folder_257.py, or the environment variables OWN_ROOT and OWN_CLASSES. See docs/en/own_data.md.
_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/own_folder_257.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Four scales, on the grid of stride 4.
model = dict(features=dict(num_levels=4), head=dict(type='FewShotScaleProtoHead', foreground_weight=3.))

train_dataloader = dict(batch_size=4)
train_cfg = dict(val_interval=2000)  # once, after the schedule's 2000 iterations
# The validation images are those of the test: nothing is chosen on them.
default_hooks = dict(checkpoint=dict(save_best=None))
