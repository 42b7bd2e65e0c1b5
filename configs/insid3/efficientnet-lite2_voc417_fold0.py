_base_ = [
    '../_base_/backbones/efficientnet-lite2.py', '../_base_/datasets/voc_417.py',
    '../_base_/schedules/dcama_adamw.py', '../_base_/default_runtime.py'
]

# Block 5.4 of stride 32 with 208 channels, without an eighth of them. Block and thresholds were chosen on training
# classes, see README.md.
model = dict(
    features=dict(type='DebiasedFeatures', reader=dict(indices=[19]), mean=[127.] * 3, std=[128.] * 3),
    head=dict(type='INSID3Head', similarity=0.5, merge_threshold=0.05))
