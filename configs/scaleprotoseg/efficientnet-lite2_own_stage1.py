# Your own labelled pictures on a CPU. Where they are and what the classes are called: the first two lines of
# ../_base_/datasets/own_labels_257.py, or the environment variables OWN_ROOT and OWN_CLASSES. See docs/en/own_data.md.
_base_ = [
    '../_base_/models/scaleproto_efficientnet-lite2.py', '../_base_/datasets/own_labels_257.py',
    '../_base_/schedules/scaleproto_stage1.py', '../_base_/default_runtime.py'
]

model = dict(decode_head=dict(num_classes={{_base_.num_classes}}))

# Fewer iterations and higher learning rates than published.
optim_wrapper = dict(
    optimizer=dict(lr=5e-3, weight_decay=1e-4),
    accumulative_counts=1,
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.02))))
phases = dict(
    warmup=dict(train_cfg=dict(max_iters=50, val_interval=50)),
    joint=dict(
        train_cfg=dict(max_iters=500, val_interval=500),
        param_scheduler=[dict(type='PolyLR', power=0.9, by_epoch=False)],
        custom_hooks=[dict(type='PrototypePushHook')]),
    last_layer=dict(
        train_cfg=dict(max_iters=50, val_interval=50), optim_wrapper=dict(optimizer=dict(lr=1e-3))))
# The validation images are those of the test: nothing is chosen on them.
default_hooks = dict(checkpoint=dict(interval=100, save_best=None))
