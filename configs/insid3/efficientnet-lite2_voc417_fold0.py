_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/voc_417.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Block 4.7, the last of stride 16, with 120 channels.
model = dict(
    features=dict(type='DebiasedFeatures', reader=dict(indices=[14]), mean=[127.] * 3, std=[128.] * 3),
    head=dict(type='INSID3Head'))
