# Metrics of prototypes and groups of a stage-2 model on Cityscapes-Panoptic-Parts (parts 1 to 5).
_base_ = ['resnet101_cityscapes_stage2.py']

test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(
                type='LoadPartAnnotations',
                kind='panoptic_parts',
                part_dir='data/cityscapes/gtFinePanopticParts/val',
                image_dir='data/cityscapes/leftImg8bit/val',
                image_suffix='_leftImg8bit.png',
                part_suffix='_gtFinePanopticParts.tif'),
            dict(type='PackPartSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ]))
test_evaluator = [
    dict(type='PrototypeConsistency', max_parts=5),
    dict(type='PrototypeStability', max_parts=5),
    dict(type='GroupOverlap'),
    dict(type='GroupSparsity'),
    dict(type='PrototypeOverlap', num_images=500, num_total=500),
]
test_cfg = dict(type='PrototypeTestLoop')
