"""Test loop that computes the mIoU at every threshold in one pass, and its runs on validation episodes.

:mod:`mmfss.evaluation.threshold_choice` chooses on the results.
"""
import copy
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Union

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop
from torch import Tensor
from torch.utils.data import DataLoader

from mmfss.evaluation.threshold_choice import fold_curve
from mmfss.evaluation.threshold_curve import ThresholdCounts, log_odds, threshold_grid
from mmfss.models.segmentors.base_few_shot_segmentor import BaseFewShotSegmentor, support_masks
from mmfss.registry import LOOPS, register_all_modules
from mmfss.utils.config import set_episodes
from mmfss.utils.config_options import ConfigError, accepted_arguments, find_class
from mmfss.utils.stored_results import fingerprint, load_result, save_result
from mmfss.utils.unwrap import unwrap
from .cross_validation import build_runner


@LOOPS.register_module()
class ThresholdLoop(TestLoop):
    """Predict every episode once, and count it at all thresholds.

    With one way and one shot a threshold only shifts the margin between the two logits, and a histogram of margins is
    counted. Otherwise (a vote of shots, several ways) the model composes its prediction anew at each threshold, from
    the same output of the head. Either way the figures are those of tests with these thresholds.

    Args:
        runner (Runner): The runner, of a :class:`BaseFewShotSegmentor`.
        dataloader (DataLoader | dict): The episodes. Its sampler must not repeat any to even out the processes
            (``round_up=False``).
        evaluator (Evaluator | dict | list): Not used.
        thresholds (Sequence[float], optional): Ascending; by default 0.01 to 0.99.

    Raises:
        ConfigError: If the model has no threshold.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: Union[DataLoader, dict[str, Any]],
                 evaluator: Union[Evaluator, dict[str, Any], list] = (),
                 thresholds: Optional[Sequence[float]] = None) -> None:
        super().__init__(runner, dataloader, evaluator or [])
        self.model = unwrap(runner.model)
        if not isinstance(self.model, BaseFewShotSegmentor):
            raise ConfigError(f'A {type(self.model).__name__} has no threshold to choose; a FewShotSegmentor has.')
        meta = self.dataloader.dataset.metainfo
        self.counts = ThresholdCounts(meta['fold_class_ids'], thresholds or threshold_grid())

    def run(self) -> dict[str, Any]:
        """Count all episodes.

        Returns:
            dict: ``thresholds``, and ``mIoU`` (per cent) at each.
        """
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.model.eval()
        # Counting changes the threshold
        threshold = self.model.threshold
        try:
            for idx, data_batch in enumerate(self.dataloader):
                self.run_iter(idx, data_batch)
        finally:
            self.model.threshold = threshold
        self.counts.merge()
        curve = self.counts.miou()
        self.runner.call_hook('after_test_epoch', metrics={'mIoU': max(curve)})
        self.runner.call_hook('after_test')
        return dict(thresholds=self.counts.thresholds, mIoU=curve)

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Count one batch.

        Args:
            idx (int): Number of the iteration in this process.
            data_batch (dict): Episodes.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        data = self.model.data_preprocessor(data_batch, False)
        # Predict once
        inputs, samples = data['inputs'], data['data_samples']
        features, encoding = self.model.encode(inputs['query'], inputs['support'], support_masks(samples))
        predict = partial(self._predict, self.model.way_logits(features, encoding), features,
                          samples[0].gt_sem_seg.data.shape[-2:])
        targets = torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in samples])
        class_ids = [sample.class_ids for sample in samples]
        # Count at all thresholds
        single = inputs['support'].shape[1:3] == (1, 1)
        margins = self._shifting_margins(predict) if single else None
        if margins is not None:
            self.counts.add_margins(margins, targets, [group[0] for group in class_ids])
        else:
            for place, threshold in enumerate(self.counts.thresholds):
                predictions = predict(threshold).argmax(1)
                self.counts.add_predictions(place, predictions, targets, class_ids)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _predict(self, ways: Sequence[Tensor], features: Any, size: Sequence[int], threshold: float) -> Tensor:
        """Compute logits (B, N+1, H, W) at a threshold."""
        self.model.threshold = threshold
        return self.model.refined(self.model.compose(ways, size), features)

    def _shifting_margins(self, predict: Callable[[float], Tensor]) -> Optional[Tensor]:
        """Compute margins (B, H, W) at threshold 0.5; None if a threshold does not simply shift them.

        DMTNet's ``one_shot_probabilities`` and refined masks do not, for example.
        """
        lowest = self.counts.thresholds[0]
        margins, shifted = (_margin(predict(threshold)) for threshold in (0.5, lowest))
        expected = margins - log_odds(lowest)
        tolerance = 1e-5 * (1 + float(expected.abs().max()))
        return margins if torch.allclose(shifted, expected, rtol=0, atol=tolerance) else None


def _margin(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 0]


def sweep_config(cfg: Config,
                 thresholds: Sequence[float],
                 held_out: bool,
                 num_shots: Optional[int] = None,
                 num_episodes: Optional[int] = None,
                 seed: Optional[int] = None) -> Config:
    """Make the config of a pass that gives the mIoU at every threshold; its test data are the validation episodes.

    Args:
        cfg (Config): Config of a few-shot model; not changed.
        thresholds (Sequence[float]): See :func:`threshold_grid`.
        held_out (bool): Draw from the classes that the fold holds out, and ignore ``classes_of``.
        num_shots (int, optional): Supports of each class; by default, as all of these, those of validation.
        num_episodes (int, optional): Number of episodes.
        seed (int, optional): Seed of the episodes.

    Returns:
        Config: To be run by ``runner.test()``.

    Raises:
        ConfigError: If the config has no validation episodes or tests on them, or its model has no threshold.
    """
    register_all_modules(init_default_scope=True)
    name = cfg.filename
    model = find_class((cfg.get('model') or {}).get('type'))
    accepted = accepted_arguments(model) if model is not None else set()
    if accepted is not None and 'threshold' not in accepted:
        raise ConfigError(f'The model of "{name}" is a {cfg.get("model", {}).get("type")}, which has no threshold to '
                          'choose; a FewShotSegmentor has.')
    # Validation episodes, of the held-out classes if asked for
    loader = copy.deepcopy(cfg.get('val_dataloader'))
    if loader is None:
        raise ConfigError(f'The config "{name}" has no val_dataloader: a threshold is chosen on validation episodes.')
    if loader['dataset'].get('split', 'test') != 'val':
        raise ConfigError(f'val_dataloader.dataset of "{name}" has split={loader["dataset"].get("split", "test")!r}: a '
                          "threshold is chosen on validation episodes (split='val'), never on those of the test.")
    if held_out:
        loader['dataset'].pop('classes_of', None)
    # Not a single episode twice, however many processes there are.
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False, round_up=False)
    cfg = copy.deepcopy(cfg)
    # They take the place of the test
    cfg.test_dataloader, cfg.test_evaluator = loader, []
    cfg.test_cfg = dict(type='ThresholdLoop', thresholds=list(thresholds))
    set_episodes(cfg, num_shots=num_shots, num_episodes=num_episodes, seed=seed)
    return cfg


def sweep(cfg: Config, config: Path, checkpoint: Optional[Path], out: Path, name: str,
          overwrite: bool = False) -> dict[str, Any]:
    """Compute the curve of a checkpoint, or read it if it was computed before.

    Args:
        cfg (Config): Result of :func:`sweep_config`.
        config (Path): The config file.
        checkpoint (Path, optional): The checkpoint; None for a model that needs no training.
        out (Path): Folder of the results; the curve is kept in ``curves/<name>.json`` below.
        name (str): Name of the config's files.
        overwrite (bool): Compute it again.

    Returns:
        dict: As of :func:`fold_curve`, the same in all processes.
    """
    path, key = out / 'curves' / f'{name}.json', fingerprint(cfg, checkpoint, 'thresholds')
    stored = [None if overwrite or not is_main_process() else load_result(path, key)]
    broadcast_object_list(stored)
    if stored[0] is not None:
        return stored[0]
    runner = build_runner(cfg, checkpoint, out / 'logs' / name)
    curve = fold_curve(config, checkpoint, runner.test(), runner.test_dataloader.dataset.metainfo)
    return save_result(path, curve, key) if is_main_process() else curve
