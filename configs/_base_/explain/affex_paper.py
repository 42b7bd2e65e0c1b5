# What the AffEx paper compares. Where the released code differs from the paper's text, the tables come from the code,
# and these settings follow it: `parity` of AffEx, `axes` of Blur IG, `scope` of DeepLIFT, `share_segments` of LIME,
# `channel` of IAUC@1 %.
paper_explainers = dict(
    random=dict(type='random'),
    gaussian_noise=dict(type='gaussian_noise'),
    saliency=dict(type='saliency'),
    integrated_gradients=dict(type='integrated_gradients'),
    guided_ig=dict(type='guided_ig'),
    blur_ig=dict(type='blur_ig', axes='reference'),
    xrai=dict(type='xrai'),
    deep_lift=dict(type='deep_lift', scope='head'),
    lime=dict(type='lime', share_segments=True),
    unmasked_affex=dict(type='unmasked_affex', parity=True),
    masked_affex=dict(type='masked_affex', parity=True),
    signed_affex=dict(type='signed_affex', parity=True))

# The metrics of the main table (5 shots), and those of the other numbers of shots.
paper_losses = [
    dict(type='InsertionDeletion', num_steps=1, percentage=0.01, loss=True, skip_empty=True),
    dict(type='InsertionDeletion', num_steps=1, percentage=0.05, loss=True, skip_empty=True),
]
paper_top_percent = dict(
    type='InsertionDeletion', num_steps=5, percentage=0.01, measure='confidence', channel='top', name='IAUC@1%')
paper_areas = [
    dict(type='InsertionDeletion', mode='ins', num_steps=75, skip_empty=True),
    dict(type='InsertionDeletion', mode='del', num_steps=75, skip_empty=True),
    dict(type='InsertionDeletionGap', num_steps=75, skip_empty=True),
]

# The paper's own 1000 episodes of all classes, those of the training folds included, are a list of image ids; these are
# drawn in the same way.
paper_sampler = dict(type='UniformEpisodeSampler', order='class', num_episodes=1000, seed=42)
