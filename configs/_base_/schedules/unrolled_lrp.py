# Stage 1 trains the classifier alone (10 epochs), stage 2 both losses (100 epochs), each with AdamW at a constant rate.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.01))
param_scheduler = []
train_cfg = dict(type='EpisodeTrainLoop', max_iters=156800, val_interval=15680)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
phases = dict(
    stage1=dict(
        model=dict(seg_loss_weight=0., cls_loss_over_batch='mean'), train_cfg=dict(max_iters=15680)),
    stage2=dict())
