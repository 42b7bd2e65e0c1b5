# Pixels are scaled to (v + 1) / 256, as published.
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=[-1., -1., -1.], std=[256., 256., 256.], bgr_to_rgb=True, size=(256, 256),
    seg_pad_val=255)
model = dict(
    type='UnrolledLRPSegmentor',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmpretrain.ResNet',
        depth=50,
        out_indices=(3, ),
        # Relevance is a ratio to what a branch adds: it must not start at 0.
        zero_init_residual=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth',
            prefix='backbone.')),
    cls_head=dict(type='PooledClassifier', in_channels=2048, num_classes=21),
    decode_head=dict(type='UnrolledLRPHead', unpool='last', bn_detach='ratio', chunk=1, iterative_gradients=True))
