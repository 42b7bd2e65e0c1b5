default_scope = 'mmfss'
custom_imports = dict(imports=['mmfss'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='ExactCheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=2, save_best='mIoU', rule='greater'))
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
