_base_ = [
    '../_base_/models/diffews_sd21.py', '../_base_/datasets/pascal5i_512.py', '../_base_/schedules/diffews_adamw.py',
    '../_base_/default_runtime.py'
]

# Options: model.checkpointing=True and model.vae_dtype='bfloat16' save memory; DiffewS-n draws 1 to 7 supports
# (train_dataloader.dataset.num_shots=7 model.random_shots=True); custom_hooks=[dict(type='EMAHook')] averages weights.
model = dict(vae_dtype='bfloat16')
default_hooks = dict(checkpoint=dict(interval=8000, save_best=None))
