# Real images on a CPU.
_base_ = [
    '../_base_/models/scaleproto_mobilenetv2.py', '../_base_/datasets/voc_semantic_257.py',
    '../_base_/schedules/scaleproto_stage1_short.py', '../_base_/default_runtime.py'
]

default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
