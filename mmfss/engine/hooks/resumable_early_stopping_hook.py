"""Early stopping with a resumable state."""
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

from mmfss.registry import HOOKS

STATE = 'early_stopping'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """Stop early like MMEngine's hook, with best score and used patience in the checkpoint.

    Args:
        **kwargs: See MMEngine's ``EarlyStoppingHook``.
    """

    priority = 'LOW'
    """Before the checkpoint hook, which saves once more after a validation with the best score so far."""

    def before_train(self, runner: Runner) -> None:
        """Restore the state of a resumed run.

        Args:
            runner (Runner): The runner.
        """
        state = runner.message_hub.runtime_info.get(STATE)
        if runner.iter > 0 and state is not None:
            self.best_score, self.wait_count = state

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Decide whether to stop, and save the state.

        Args:
            runner (Runner): The runner.
            metrics (dict): Results of the validation.
        """
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(STATE, [self.best_score, self.wait_count])
