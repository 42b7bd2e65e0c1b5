# The paper's training in the strict setting: 10,000 steps of 16 episodes (4 devices, a batch of 1, gradients of 4
# batches), AdamW with weight decay 0.01, the rate falling linearly from 1e-5. The paper's section on experiments says
# 30,000 for this setting too, and the released script 20,000 steps of 4 episodes.
accumulation = 4
optimizer_steps = 10000
optim_wrapper = dict(
    type='BFloat16OptimWrapper',  # as released, on CUDA: type='AmpOptimWrapper', dtype='float16'
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=accumulation)
param_scheduler = [
    dict(type='PolyLR', power=1., eta_min=1e-7, begin=0, end=optimizer_steps * accumulation, by_epoch=False)
]
auto_scale_lr = dict(enable=False, base_batch_size=4)

# An iteration is a batch of 1 on each device; four of them make a step of the optimizer.
train_cfg = dict(
    type='EpisodeTrainLoop', max_iters=optimizer_steps * accumulation, val_interval=optimizer_steps * accumulation)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
