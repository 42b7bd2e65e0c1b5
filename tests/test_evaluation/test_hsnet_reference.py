"""The scores are those that the official HSNet implementation computes."""
import numpy as np
import pytest
import torch

from mmfss.evaluation.functional import compute_scores, episode_counts, tabulate_counts
from tests.references.correlations import load
from tests.references.seeded import seeded_image

CLASSES = (5, 6, 6, 8, 9, 5)


def test_counts_and_scores() -> None:
    """Ignored pixels, an empty prediction, an empty truth, and a class that never occurs."""
    expected = load('hsnet', 'units')
    pred = torch.from_numpy(seeded_image('ev_pred', (6, 20, 24), 0) > 0).long()
    truth = torch.from_numpy(seeded_image('ev_gt', (6, 20, 24), 0) > 0.2).long()
    ignored = torch.from_numpy(seeded_image('ev_ign', (6, 20, 24), 0) > 1.1) & (truth == 0)
    pred[3], truth[4], ignored[4] = 0, 0, False
    assert ignored.flatten(1).sum(1).tolist() == expected['ev_ignored'].tolist()
    target = truth.masked_fill(ignored, 255)
    counts = [episode_counts(p, t, num_ways=1) for p, t in zip(pred, target)]
    assert [c['intersection'][0] for c in counts] == expected['ev_inter'][1].tolist()
    assert [c['union'][0] for c in counts] == expected['ev_union'][1].tolist()
    background = [c['pixels'] - c['foreground'][1] for c in counts]
    assert background == expected['ev_inter'][0].tolist()
    results = [dict(c, class_ids=[class_id]) for c, class_id in zip(counts, CLASSES)]
    scores = compute_scores(tabulate_counts(results, range(5, 10)))
    assert scores.miou == pytest.approx(float(expected['ev_miou']), abs=1e-4)
    assert scores.fb_iou == pytest.approx(float(expected['ev_fbiou']), abs=1e-4)
    assert np.isfinite(scores.class_iou).all()
