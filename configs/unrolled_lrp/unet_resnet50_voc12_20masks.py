# Baseline: the same U-Net, without a classifier, on the images with a mask alone. Published: 15000, 3000, 600 and 200
# epochs of 20, 100, 500 and 1464 images; here one phase of as many batches of 10.
_base_ = ['mtunet_resnet50_voc12_20masks.py']

model = dict(cls_head=None, cls_loss_weight=0.)
train_dataloader = dict(dataset=dict(labelled_share=1.0, order='seeded'))
phases = dict(stage1=None, stage2=dict(train_cfg=dict(max_iters=30000)))
val_evaluator = [dict(type='SummedIoUMetric')]
test_evaluator = val_evaluator
