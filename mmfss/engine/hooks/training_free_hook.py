"""Hook that initializes a model without a checkpoint before its test."""
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.models import check_training_free
from mmfss.registry import HOOKS
from mmfss.utils.unwrap import unwrap


@HOOKS.register_module()
class TrainingFreeHook(Hook):
    """Initialize a model that needs no training as its config declares, or refuse one that must be trained.

    MMEngine's runner initializes weights only before a training. The tools add this hook where no checkpoint is given.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.done = False

    def before_run(self, runner: Runner) -> None:
        """Initialize the model; later calls do nothing.

        Args:
            runner (Runner): The runner.

        Raises:
            ValueError: If the model must be trained.
        """
        if self.done:
            return
        model = unwrap(runner.model)
        check_training_free(model)
        model.init_weights()
        self.done = True
