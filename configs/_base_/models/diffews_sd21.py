# DiffewS on Stable Diffusion 2.1 (weights: configs/diffews/README.md), decided as in the released code.
model = dict(
    type='DiffewsSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True),
    vae=dict(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=('DownEncoderBlock2D', ) * 4,
        up_block_types=('UpDecoderBlock2D', ) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        norm_num_groups=32,
        scaling_factor=0.18215),
    unet=dict(
        sample_size=96,
        in_channels=4,
        out_channels=4,
        down_block_types=('CrossAttnDownBlock2D', ) * 3 + ('DownBlock2D', ),
        up_block_types=('UpBlock2D', ) + ('CrossAttnUpBlock2D', ) * 3,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
        upcast_attention=True),
    text_tokens=(77, 2),
    decision=dict(mode='relative', value=0.25, maximum='channels', truncate=True),
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/diffews_sd21.pth'))
