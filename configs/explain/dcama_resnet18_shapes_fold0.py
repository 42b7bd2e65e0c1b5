# The embedded shapes, 1-way 1-shot: explainers that take a second, and the metrics of the paper's main table with fewer
# steps. The blur of masks is the paper's share of the picture.
_base_ = ['../dcama/resnet18_shapes_fold0.py']

test_dataloader = dict(batch_size=1, dataset=dict(sampler=dict(num_episodes=100)))
test_cfg = dict(
    type='ExplanationLoop',
    region='prediction',
    explainers=dict(
        unmasked_affex=dict(type='unmasked_affex'),
        masked_affex=dict(type='masked_affex', mask_blur_kernel_size=11),
        signed_affex=dict(type='signed_affex', mask_blur_kernel_size=11),
        saliency=dict(type='saliency'),
        integrated_gradients=dict(type='integrated_gradients', internal_batch_size=5),
        lime=dict(type='lime'),
        xrai=dict(type='xrai', internal_batch_size=5),
        gaussian_noise=dict(type='gaussian_noise'),
        random=dict(type='random')))
test_evaluator = [
    dict(type='InsertionDeletion', num_steps=1, percentage=0.01, loss=True, skip_empty=True),
    dict(type='InsertionDeletion', num_steps=1, percentage=0.05, loss=True, skip_empty=True),
    dict(type='InsertionDeletion', mode='ins', num_steps=15, skip_empty=True),
    dict(type='InsertionDeletion', mode='del', num_steps=15, skip_empty=True),
    dict(type='InsertionDeletionGap', num_steps=15, skip_empty=True),
]
