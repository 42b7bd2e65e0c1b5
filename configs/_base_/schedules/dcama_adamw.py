# A short training: AdamW, one cycle of the learning rate, which ends with the training.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2))
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, by_epoch=False)]
auto_scale_lr = dict(enable=False, base_batch_size=8)

train_cfg = dict(type='EpisodeTrainLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
