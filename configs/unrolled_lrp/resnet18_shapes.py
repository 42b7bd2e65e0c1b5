# Few masks on the embedded shapes, from random weights, in minutes on a CPU. The share of the masks:
#   --cfg-options train_dataloader.dataset.mask_share=0.2
_base_ = [
    '../_base_/models/unrolled_lrp_r50.py', '../_base_/datasets/shapes_partial_128.py',
    '../_base_/default_runtime.py', '../_base_/schedules/unrolled_lrp.py'
]

width = 16
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(depth=18, stem_channels=width, base_channels=width, zero_init_residual=False, init_cfg=None),
    cls_head=dict(in_channels=8 * width, num_classes=17),
    decode_head=dict(chunk=17, iterative_gradients=False))
# Stage 2 decodes 17 maps of each image, so its batches are smaller.
train_dataloader = dict(batch_size=8, dataset=dict(batch_size=8))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_iters=250, val_interval=250)
phases = dict(
    stage1=dict(
        train_dataloader=dict(batch_size=16, dataset=dict(batch_size=16)),
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
        train_cfg=dict(max_iters=1500, val_interval=1500)))
# The validation images are those of the test: no checkpoint is chosen on them.
default_hooks = dict(checkpoint=dict(save_best=None, interval=100))
