# A tiny VAE and UNet for a CPU, trained one after the other by one command, at 64 x 64:
#   python tools/train.py configs/diffews/tiny_shapes_fold0.py
# The first phase shows, as mIoU, the round trip of masks through the VAE's latents.
_base_ = ['../_base_/datasets/shapes_128.py', '../_base_/default_runtime.py']

pipeline = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(64, 64)),
        ]),
    dict(type='PackEpisodeInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))

# Latents of 32 x 32; their size is scaled to about 1. Keys and values at 16 x 16 and 8 x 8:
# seven layers.
vae = dict(
    block_out_channels=(16, 32),
    down_block_types=('DownEncoderBlock2D', ) * 2,
    up_block_types=('UpDecoderBlock2D', ) * 2,
    layers_per_block=1,
    norm_num_groups=8,
    latent_channels=4,
    scaling_factor=0.4,
    mid_block_add_attention=False)
model = dict(
    type='DiffewsSegmentor',
    vae=vae,
    unet=dict(
        sample_size=32,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        attention_head_dim=(4, 4, 6),
        cross_attention_dim=16,
        norm_num_groups=8,
        use_linear_projection=True),
    text_tokens=(1, 1),
    random_shots=True)

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=8)
default_hooks = dict(checkpoint=dict(save_best=None))

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0))
unet_iters, vae_iters = 2000, 400
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, by_epoch=False)]
train_cfg = dict(type='EpisodeTrainLoop', max_iters=unet_iters, val_interval=unet_iters)

# (A config that is written to a file has its keys sorted: names of phases follow the alphabet.)
phases = dict(
    autoencoder=dict(
        model=dict(_delete_=True, type='LatentAutoencoder', vae=vae, kl_weight=1e-6),
        train_dataloader=dict(batch_size=4),
        optim_wrapper=dict(optimizer=dict(lr=2e-3)),
        param_scheduler=[dict(type='OneCycleLR', eta_max=2e-3, by_epoch=False)],
        train_cfg=dict(max_iters=vae_iters, val_interval=vae_iters)),
    # DiffewS-n: one or two supports.
    unet=dict(
        train_dataloader=dict(dataset=dict(num_shots=2)),
        custom_hooks=[dict(type='EMAHook', momentum=1e-2)]))
