_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/voc_417.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# EfficientNet-Lite2 on a CPU, `--amp` advised; four scales, on the grid of stride 4; the same training as that of the
# other methods on this data.
model = dict(features=dict(num_levels=4), head=dict(type='FewShotScaleProtoHead', foreground_weight=3.))

train_dataloader = dict(batch_size=4)
train_cfg = dict(val_interval=2000)  # once, after the schedule's 2000 iterations
