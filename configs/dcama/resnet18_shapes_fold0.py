_base_ = [
    '../_base_/models/dcama_r50.py', '../_base_/datasets/shapes_128.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Trained from scratch, backbone and head together: narrow, without attention dropout, for a CPU.
model = dict(
    backbone=dict(_delete_=True, type='mmpretrain.ResNet', depth=18, stem_channels=24, base_channels=24),
    frozen_backbone=False,
    head=dict(num_heads=4, dropout=0.1, attention_dropout=0.))
