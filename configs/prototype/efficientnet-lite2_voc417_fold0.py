_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/voc_417.py', '../_base_/default_runtime.py'
]

# One feature, block 5.4 of stride 32 with 208 channels, chosen on training classes: README.md.
model = dict(features=dict(indices=[19]), head=dict(type='PrototypeMatchingHead', mode='mean'))

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
