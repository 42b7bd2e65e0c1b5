# The recipe of DCAMA: SGD at a constant rate; validation after every pass over the training data.
# The rate belongs to 48 episodes per iteration, over all processes.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4))
param_scheduler = []
auto_scale_lr = dict(enable=False, base_batch_size=48)

train_cfg = dict(type='EpisodeTrainLoop', max_iters=100000, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
