# ScaleProtoSeg, stage 1: warm-up, joint training and push, last layer. Every phase has a new Adam; iterations count
# micro-batches, of which accumulative_counts make one update. tools/train.py runs the phases; batch_size and
# max_iters are those of the dataset's config.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=2.5e-4, weight_decay=5e-4),
    accumulative_counts=5,
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'decode_head.prototypes': dict(decay_mult=0.),
        }))
train_cfg = dict(type='EpisodeTrainLoop', max_iters=150000, val_interval=15000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = []

phases = dict(
    warmup=dict(model=dict(trainable=['scale_convs', 'prototypes'])),
    joint=dict(model=dict(trainable=['backbone', 'scale_convs', 'prototypes']), result='pushed.pth'),
    last_layer=dict(
        model=dict(trainable=['classifier']),
        optim_wrapper=dict(optimizer=dict(lr=1e-5, weight_decay=0.), paramwise_cfg=None),
        custom_hooks=[dict(type='ResumableEarlyStoppingHook', monitor='mIoU', min_delta=0., patience=100)]))
