# GF-SAM with DINOv2 ViT-L/14 and SAM ViT-H (weights: configs/gfsam/README.md). There is nothing to train.
model = dict(
    type='FewShotSegmentor',
    data_preprocessor=dict(
        type='EpisodeDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch='large',
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpretrain/v1.0/dinov2/vit-large-p14_dinov2-pre_3rdparty_20230426-f3302d9e.pth',
            prefix='backbone.')),
    # The last block before the final norm. The published numbers were probably made without antialiasing, which the
    # torchvision of the authors' notes lacks for tensors.
    features=dict(
        type='ResizedFeatures',
        size=(518, 518),
        antialias=False,
        reader=dict(type='ViTFeatures', scales=[1], indices=[-1])),
    head=dict(
        type='GFSAMHead',
        sam=dict(
            arch='vit_h',
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'))))
