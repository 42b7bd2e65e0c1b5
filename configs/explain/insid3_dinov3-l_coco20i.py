# The settings of AffEx's implementation for INSID3; `temperature` is its 1, see configs/insid3/README.md.
_base_ = ['../insid3/dinov3-l_coco20i_fold0.py', '../_base_/explain/affex_paper.py']

affex = dict(
    parity=True, explanation_size=64, temperature=1., mask_blur_kernel_size=7, mask_dilation_radius=5,
    mask_dilation_kernel=7)

test_dataloader = dict(
    dataset=dict(fold=None, split_dir=None, sampler=dict(_delete_=True, **_base_.paper_sampler)))
test_cfg = dict(
    type='ExplanationLoop',
    explainers=dict(
        random=dict(type='random'),
        saliency=dict(type='saliency'),
        integrated_gradients=dict(type='integrated_gradients'),
        lime=dict(type='lime', share_segments=True),
        unmasked_affex=dict(type='unmasked_affex', **affex),
        masked_affex=dict(type='masked_affex', **affex),
        signed_affex=dict(type='signed_affex', **affex)),
    region='prediction')
test_evaluator = [*_base_.paper_losses, _base_.paper_top_percent]
