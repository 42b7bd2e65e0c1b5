_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/voc_417.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# EfficientNet-Lite2 on a CPU, `--amp` advised. Four heads, because the maps are as narrow as 48 channels; no attention
# dropout, which would take most of the time there.
model = dict(head=dict(type='DCAMAHead', num_heads=4, dropout=0.1, attention_dropout=0.))

train_dataloader = dict(batch_size=4)
train_cfg = dict(val_interval=2000)  # once, after the schedule's 2000 iterations
