"""Progress of training, validation and test, with the time left."""
from typing import Any, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.registry import HOOKS
from mmfss.utils.progress import Progress


@HOOKS.register_module()
class ProgressHook(Hook):
    """Report on standard error, from the first seconds on, see :class:`mmfss.utils.progress.Progress`.

    MMEngine logs every few iterations only, which on a busy machine is minutes.

    Args:
        what (str, optional): What the test is called; ``'testing'`` by default.
        in_place (bool, optional): Rewrite one line during a test; by default on a terminal. Training always writes
            lines, between those of the log.
    """

    priority = 'VERY_LOW'

    def __init__(self, what: Optional[str] = None, in_place: Optional[bool] = None) -> None:
        self.what = what or 'testing'
        self.in_place = in_place
        self.training: Optional[Progress] = None
        self.evaluation: Optional[Progress] = None

    def before_train(self, runner: Runner) -> None:
        """Start counting iterations, after those of the resumed run."""
        if is_main_process():
            self.training = Progress(runner.max_iters, 'training', 'iterations', runner.iter, in_place=False)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count an iteration."""
        if self.training is not None:
            self.training.update()

    def before_val_epoch(self, runner: Runner) -> None:
        """Start counting the batches of a validation."""
        self._begin(len(runner.val_dataloader), 'validation', in_place=False)

    def before_test_epoch(self, runner: Runner) -> None:
        """Start counting the batches of a test."""
        self._begin(len(runner.test_dataloader), self.what, self.in_place)

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count a batch."""
        if self.evaluation is not None:
            self.evaluation.update()

    def after_test_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count a batch."""
        if self.evaluation is not None:
            self.evaluation.update()

    def _begin(self, total: int, what: str, in_place: Optional[bool]) -> None:
        if is_main_process():
            self.evaluation = Progress(total, what, 'batches', in_place=in_place)
