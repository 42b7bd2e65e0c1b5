"""Drop the small weights of the groups when training has ended."""
from pathlib import Path

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.registry import HOOKS
from mmfss.utils.files import atomic_path, dump_json

THRESHOLDED, REPORT = 'thresholded.pth', 'groups.json'


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
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head, folder = model.decode_head, Path(runner.work_dir)
        before = head.entropy()
        head.threshold_groups(self.threshold)
        if is_main_process():
            classes = (runner.train_dataloader.dataset.metainfo or {}).get('classes')
            report = group_report(head, self.threshold, classes, entropy_before=before)
            dump_json(report, folder / REPORT)
            print_report(report)
            weights = {name: value.cpu() for name, value in model.state_dict().items()}
            with atomic_path(folder / THRESHOLDED) as temporary:
                torch.save(dict(meta=dict(iter=runner.iter, dataset_meta=dict(classes=classes)), state_dict=weights),
                           temporary)
        barrier()
