import json
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Optional

import pytest
import torch

from mmfss.engine.cross_validation import build_runner
from mmfss.engine.threshold_loop import ThresholdLoop, sweep_config
from mmfss.evaluation.threshold_curve import ThresholdCounts, log_odds, threshold_grid
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.config_options import ConfigError
from tests.tiny.data import write_class_folders
from tests.tiny.fold_config import fold_config
from tests.tiny.model import TINY_MODEL
from tests.tiny.sam import DiscSAM  # noqa: F401  (registers it)

GRID = [0.25, 0.5, 0.75]


class TestRefusals:

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(split='test'), "split='test': a threshold is chosen on validation episodes"),
        (dict(split='train'), "split='train': a threshold is chosen on validation episodes"),
    ])
    def test_other_episodes(self, changes: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            sweep_config(fold_config(**changes), GRID, held_out=True)

    def test_no_validation(self) -> None:
        cfg = fold_config()
        cfg.pop('val_dataloader')
        with pytest.raises(ConfigError, match='m/x_fold0.py" has no val_dataloader'):
            sweep_config(cfg, GRID, held_out=True)

    def test_no_threshold(self) -> None:
        with pytest.raises(ConfigError, match='is a EncoderDecoder, which has no threshold'):
            sweep_config(fold_config(model=dict(type='EncoderDecoder')), GRID, held_out=True)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('choice')
    write_class_folders(root / 'data')
    register_all_modules(init_default_scope=True)
    for head in ('DCAMAHead', 'HSNetHead'):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = MODELS.build(dict(TINY_MODEL, head=dict(type=head)))
        torch.save(dict(state_dict=model.state_dict()), root / f'{head}.pth')
    return root


class TestSweep:
    """Each case: the head, ways and shots. HSNet's vote of three shots and refined masks are no shift of one margin."""

    @pytest.mark.parametrize(('head', 'ways', 'shots', 'refine'), [
        ('DCAMAHead', 1, 1, None), ('DCAMAHead', 1, 2, None), ('DCAMAHead', 2, 1, None), ('HSNetHead', 1, 1, None),
        ('HSNetHead', 1, 3, None), ('DCAMAHead', 1, 1, dict(type='SAMRefine', sam=dict(type='DiscSAM', grow=2)))])
    def test_equals_tests(self, data: Path, tmp_path: Path, head: str, ways: int, shots: int,
                          refine: Optional[dict]) -> None:
        cfg = fold_config(0, str(data / 'data'), dict(TINY_MODEL, head=dict(type=head), refine=refine), num_ways=ways)
        cfg.test_dataloader.dataset.update(num_ways=ways, num_shots=shots)
        checkpoint = data / f'{head}.pth'
        found = build_runner(sweep_config(cfg, GRID, held_out=True, num_shots=shots), checkpoint, tmp_path).test()
        assert found['thresholds'] == GRID and len(set(found['mIoU'])) > 1
        for threshold, miou in zip(GRID, found['mIoU']):
            cfg.model.threshold = threshold
            # A rounded margin may fall on the other side of a threshold: a few pixels of 20000.
            assert miou == pytest.approx(build_runner(cfg, checkpoint, tmp_path).test()['mIoU'], abs=0.05)

    @pytest.mark.parametrize(('rule', 'shifts'), [(lambda logits: logits, True), (lambda logits: 1e3 * logits, False),
                                                  (lambda logits: logits.softmax(1), False)])
    def test_only_shifted_margins_are_counted_by_their_histogram(self, rule: Callable, shifts: bool) -> None:
        """Probabilities instead of logits, say, as DMTNet's ``one_shot_probabilities`` gives."""
        ways = [torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))]
        loop = ThresholdLoop.__new__(ThresholdLoop)
        loop.counts = ThresholdCounts([0], GRID)
        loop.model = SimpleNamespace(threshold=0.5)

        def compose(ways: list, size: tuple) -> torch.Tensor:
            background, foreground = ways[0].unbind(1)
            return rule(torch.stack((background + log_odds(loop.model.threshold), foreground), dim=1))

        loop.model.compose = compose
        loop.model.refined = lambda logits, features: logits
        margins = loop._shifting_margins(lambda threshold: loop._predict(ways, None, (4, 4), threshold))
        assert (margins is not None) == shifts
        assert not shifts or torch.allclose(margins, ways[0][:, 1] - ways[0][:, 0])

    def test_episodes(self, data: Path) -> None:
        cfg = fold_config(1, str(data / 'data'), classes_of='train', seed=4)
        kept = sweep_config(cfg, threshold_grid(), held_out=False)
        assert kept.test_dataloader.dataset == cfg.val_dataloader.dataset and 'classes_of' in cfg.val_dataloader.dataset
        changed = sweep_config(cfg, threshold_grid(), True, num_shots=2, num_episodes=3, seed=9).test_dataloader
        assert 'classes_of' not in changed.dataset and changed.dataset.split == 'val'
        assert (changed.dataset.num_shots, changed.dataset.num_episodes, changed.dataset.seed) == (2, 3, 9)
        assert changed.sampler == dict(type='DefaultSampler', shuffle=False, round_up=False)
        json.dumps(kept.test_cfg.to_dict())
