# Metrics of prototypes and groups of a stage-2 model on Pascal-Panoptic-Parts (at most 24 parts of a class). For the
# MATLAB files of Pascal-Part: kind='pascal_part', part_dir='data/Annotations_Part', part_suffix='.mat', no spec.
_base_ = ['resnet101_voc12aug_stage2.py']

test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(513, 513), keep_ratio=False),
            dict(type='LoadAnnotations'),
            dict(
                type='LoadPartAnnotations',
                kind='panoptic_parts',
                part_dir='data/pascal_panoptic_parts/labels/val',
                spec='data/pascal_panoptic_parts/parts.yaml'),
            dict(type='PackPartSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ]))
test_evaluator = [
    # Without parts: background, boat, chair, table, sofa. The published code leaves out cow (10), not table (11).
    dict(type='PrototypeConsistency', max_parts=24, skip_classes=[0, 4, 9, 11, 18]),
    dict(type='PrototypeStability', max_parts=24),
    dict(type='GroupOverlap'),
    dict(type='GroupSparsity'),
    dict(type='PrototypeOverlap', num_images=500, num_total=1449),
]
test_cfg = dict(type='PrototypeTestLoop')
