# Baseline: the same U-Net on the images with a mask alone, for as many updates as both stages.
_base_ = ['mtunet_resnet18_shapes.py']

model = dict(cls_head=None, cls_loss_weight=0.)
train_dataloader = dict(dataset=dict(labelled_share=1.0))
phases = dict(
    stage1=None,
    stage2=dict(optim_wrapper=dict(optimizer=dict(lr=1e-3)), train_cfg=dict(max_iters=1750, val_interval=1750)))
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU'])]
test_evaluator = val_evaluator
