"""Training loop."""
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn

from mmfss.datasets import EpisodeStream
from mmfss.registry import LOOPS
from .schedule_end import check_end, end_with_training

VALIDATED_ITER = 'iter_of_last_validation'


@LOOPS.register_module()
class EpisodeTrainLoop(IterBasedTrainLoop):
    """Train by iterations like MMEngine's loop; it resumes immediately and exactly.

    With an :class:`mmfss.datasets.EpisodeStream` a resumed run continues at its position in the data; MMEngine's loop
    would load and throw away everything the run has seen, which is done here for other samplers only. A validation that
    was due at the checkpoint, but had not ended when the run was killed, is made up for.

    Parameter schedulers without an end of their own end with the training, see :func:`end_with_training`.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The training data.
        max_iters (int): Number of training iterations.
        val_begin (int): First iteration after which validation may run.
        val_interval (int): Iterations between validations. The last iteration is always followed by one.
        dynamic_intervals (list[tuple[int, int]], optional): Pairs of an iteration and the interval that holds from it.
    """

    def __init__(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, *args, **kwargs)
        # The runner builds its schedulers after its loop.
        runner.param_schedulers = end_with_training(runner.param_schedulers, self._max_iters)
        check_end(runner.param_schedulers, self._max_iters, runner._resume)

    def run(self) -> nn.Module:
        """Train.

        Returns:
            nn.Module: The trained model.
        """
        resumed = self._iter > 0
        if resumed:
            self._skip_used_data()
        self.runner.call_hook('before_train')
        # The random state of the checkpoint is restored here, after everything that draws from it on the way.
        self.runner.call_hook('before_train_epoch')
        if resumed and self.runner.message_hub.runtime_info.get(VALIDATED_ITER) != self._iter:
            self._validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _skip_used_data(self) -> None:
        sampler = self.dataloader.sampler
        if isinstance(sampler, EpisodeStream):
            sampler.start = self._iter * self.dataloader.batch_size * sampler.world_size
            # The first iterator was made, and its workers set to work, before the iteration was known.
            self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)
            return
        print_log(f'Loading the data of {self._iter} iterations to skip them: {type(sampler).__name__} cannot start in '
                  'the middle, as EpisodeStream can.', 'current')
        for _ in range(self._iter):
            next(self.dataloader_iterator)

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return
        if self._iter % self.val_interval == 0 or self._iter == self._max_iters:
            self.runner.val_loop.run()
