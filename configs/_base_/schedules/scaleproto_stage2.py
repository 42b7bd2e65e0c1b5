# ScaleProtoSeg, stage 2: the groups alone, then groups and last layer; small weights of groups are dropped at the end.
# It starts from stage 1's pushed.pth, of which the number of prototypes is read.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=2.5e-4),
    accumulative_counts=5)
train_cfg = dict(type='EpisodeTrainLoop', max_iters=150000, val_interval=15000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = []

phases = dict(
    group_warmup=dict(
        model=dict(trainable=['groups']), custom_hooks=[dict(type='SimplexProjectionHook')]),
    group_joint=dict(
        model=dict(trainable=['groups', 'group_classifier']),
        result='thresholded.pth',
        custom_hooks=[dict(type='SimplexProjectionHook'), dict(type='GroupThresholdHook', threshold=0.05)]))
