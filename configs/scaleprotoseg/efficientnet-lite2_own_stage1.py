# Your own labelled pictures on a CPU. Where they are and what the classes are called: the first two lines of
# ../_base_/datasets/own_labels_257.py, or the environment variables OWN_ROOT and OWN_CLASSES. See docs/en/own_data.md.
_base_ = [
    '../_base_/models/scaleproto_efficientnet-lite2.py', '../_base_/datasets/own_labels_257.py',
    '../_base_/schedules/scaleproto_stage1_short.py', '../_base_/default_runtime.py'
]

model = dict(decode_head=dict(num_classes={{_base_.num_classes}}, prototypes_per_scale=6))

# Prototypes learn much faster than the convolutions: those saturate the sigmoid, and stop learning, at higher rates.
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.3), 'decode_head.prototypes': dict(lr_mult=200.)}))
phases = dict(last_layer=dict(optim_wrapper=dict(optimizer=dict(lr=1e-5))))  # as published

# The validation images are those of the test: nothing is chosen on them.
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
