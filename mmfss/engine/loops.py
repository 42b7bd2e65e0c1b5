"""The training loop."""
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch import nn

from mmfss.registry import LOOPS

VALIDATED_ITER = 'iter_of_last_validation'


@LOOPS.register_module()
class EpisodeTrainLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, resumable at once and exactly.

    With a sampler that can start anywhere (:class:`EpisodeStreamSampler`) a resumed run continues at its position in the
    data; MMEngine's loop would load and throw away everything the run has seen. A validation that was due at the
    checkpoint, but had not ended when the run was killed, is made up for.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The training data.
        max_iters (int): Number of training iterations.
        val_begin (int): First iteration after which validation may run.
        val_interval (int): Iterations between validations. The last iteration is always followed by one.
        dynamic_intervals (list[tuple[int, int]], optional): Pairs of an iteration and the interval that holds from it.
    """

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
        loader = self.dataloader
        if not hasattr(loader.sampler, 'start_at'):
            print_log(f'{type(loader.sampler).__name__} cannot start in the middle: loading the data of '
                      f'{self._iter} iterations to skip them. EpisodeStreamSampler would not need this.', 'current')
            for _ in range(self._iter):
                next(self.dataloader_iterator)
            return
        # The seed may have been drawn at random by the run that is resumed; the runner has it from the checkpoint.
        loader.sampler.start_at(self._iter * loader.batch_size, seed=self.runner.seed)
        self.dataloader_iterator = _InfiniteDataloaderIterator(loader)

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return
        if self._iter % self.val_interval == 0 or self._iter == self._max_iters:
            self.runner.val_loop.run()
