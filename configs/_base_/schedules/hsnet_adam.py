# The recipe of HSNet and DMTNet: Adam at a constant rate; validation after every pass over the training data.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = []
auto_scale_lr = dict(enable=False, base_batch_size=20)

train_cfg = dict(type='EpisodeTrainLoop', max_iters=285000, val_interval=570)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
