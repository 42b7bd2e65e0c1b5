_base_ = [
    '../_base_/models/diffews_sd21.py', '../_base_/datasets/in_context_512.py',
    '../_base_/schedules/diffews_adamw.py', '../_base_/default_runtime.py'
]

# The paper's in-context setting: 30,000 steps of 16 episodes. With several shots at test,
# model.kv_sample='train_length' keeps as many tokens as one support has.
model = dict(vae_dtype='bfloat16')
optimizer_steps = 30000
param_scheduler = [dict(type='PolyLR', power=1., eta_min=1e-7, begin=0, end=4 * optimizer_steps, by_epoch=False)]
train_cfg = dict(max_iters=4 * optimizer_steps, val_interval=4 * optimizer_steps)
default_hooks = dict(checkpoint=dict(interval=8000, save_best=None))
