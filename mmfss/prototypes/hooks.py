"""Hooks of prototype training: push, thresholding and projection of groups."""
from pathlib import Path
from typing import Any, Optional, Sequence

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.registry import HOOKS
from mmfss.utils.files import atomic_path, dump_json
from mmfss.utils.unwrap import unwrap
from .embedding import group_head, prototype_head
from .push import PrototypePush

THRESHOLDED, REPORT = 'thresholded.pth', 'groups.json'


@HOOKS.register_module()
class PrototypePushHook(Hook):
    """Replace every prototype by its nearest training feature at the end of the joint phase.

    Writes ``pushed.pth``, ``prototypes.json`` and ``prototypes/`` to the working directory, from where the next phase
    starts. A run that was killed in the middle of the push is resumed from its last checkpoint and continues it.

    Args:
        out_dir (str, optional): Another folder.
        **push: See :class:`mmfss.prototypes.PrototypePush`. Without a ``dataset``, the push takes the training images,
            prepared as for validation.
    """

    priority = 'LOWEST'

    def __init__(self, out_dir: Optional[str] = None, **push: Any) -> None:
        self.push, self.out_dir = PrototypePush(**push), out_dir

    def before_train(self, runner: Runner) -> None:
        """Build and check the data of the push.

        Args:
            runner (Runner): The runner.

        Raises:
            ConfigError: If they show other classes than the training data, or than the model has.
        """
        self.push.use_training_data(runner.cfg)
        training = runner.train_dataloader.dataset.metainfo or {}
        self.push.check(prototype_head(unwrap(runner.model)).num_classes, training.get('classes'))

    def after_train(self, runner: Runner) -> None:
        """Push, on all processes.

        Args:
            runner (Runner): The runner.
        """
        meta = dict(iter=runner.iter, dataset_meta=dict(classes=self.push.dataset.metainfo.get('classes')))
        self.push.run(runner.model, Path(self.out_dir or runner.work_dir), meta)


@HOOKS.register_module()
class GroupThresholdHook(Hook):
    """Set group weights below a threshold to 0 at the end of stage 2, and report how sparse the groups are.

    Writes ``thresholded.pth`` and ``groups.json`` to the working directory; the last validation was before it.

    Args:
        threshold (float): Defaults to 0.05.
    """

    priority = 'LOWEST'

    def __init__(self, threshold: float = 0.05) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold must lie in [0, 1], got {threshold}.')
        self.threshold = threshold

    def after_train(self, runner: Runner) -> None:
        """Threshold and write.

        Args:
            runner (Runner): The runner; its model has a :class:`mmfss.models.ScaleProtoGroupHead`.
        """
        model = unwrap(runner.model)
        head, folder = model.decode_head, Path(runner.work_dir)
        before = head.entropy()
        head.threshold_groups(self.threshold)
        if is_main_process():
            classes = (runner.train_dataloader.dataset.metainfo or {}).get('classes')
            report = group_report(head, self.threshold, classes, entropy_before=before)
            dump_json(report, folder / REPORT)
            print_report(report)
            # The thresholded model
            weights = {name: value.cpu() for name, value in model.state_dict().items()}
            with atomic_path(folder / THRESHOLDED) as temporary:
                torch.save(dict(meta=dict(iter=runner.iter, dataset_meta=dict(classes=classes)), state_dict=weights),
                           temporary)
        barrier()


@HOOKS.register_module()
class SimplexProjectionHook(Hook):
    """Project the groups after every update of the optimizer (projected Adam; its moments are left alone)."""

    def before_train(self, runner: Runner) -> None:
        """Attach the projection to the optimizer.

        Args:
            runner (Runner): The runner; its model has a :class:`mmfss.models.ScaleProtoGroupHead`.

        Raises:
            ValueError: If the model has no groups.
        """
        head = group_head(unwrap(runner.model))

        def project(optimizer: Any, args: Sequence, kwargs: dict) -> None:
            head.project_groups()

        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(project)

    def after_train(self, runner: Runner) -> None:
        """Detach the projection.

        Args:
            runner (Runner): The runner.
        """
        self._handle.remove()
