# Metrics of prototypes and groups of a stage-2 model; the quarters of an object are its parts.
#   python tools/test.py configs/scaleprotoseg/resnet18_shapes_interpretability.py thresholded.pth
_base_ = ['resnet18_shapes_stage2.py']

test_dataloader = dict(
    batch_size=16,
    dataset=dict(
        pipeline=[
            dict(type='LoadEpisodeImage'),
            dict(type='PackPartSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
        ]))
test_evaluator = [
    dict(type='PrototypeConsistency', max_parts=4, skip_classes=[0]),
    dict(type='PrototypeStability', max_parts=4, skip_classes=[0]),
    dict(type='GroupOverlap'),
    dict(type='GroupSparsity'),
    dict(type='PrototypeOverlap'),
]
test_cfg = dict(type='PrototypeTestLoop')
