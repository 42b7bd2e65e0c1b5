"""Keep the groups of prototypes on the simplex."""
from typing import Any, Sequence

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmfss.registry import HOOKS


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
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = getattr(model, 'decode_head', None)
        if not hasattr(head, 'project_groups'):
            raise ValueError(f'SimplexProjectionHook needs a ScaleProtoGroupHead, the model has {type(head).__name__}.')

        def project(optimizer: Any, args: Sequence, kwargs: dict) -> None:
            head.project_groups()

        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(project)

    def after_train(self, runner: Runner) -> None:
        """Detach it again.

        Args:
            runner (Runner): The runner.
        """
        self._handle.remove()
