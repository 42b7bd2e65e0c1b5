"""Hook that refuses a checkpoint of another model before it is loaded."""
from typing import Any, Dict

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.converters.published_weights import published_model
from mmfss.registry import HOOKS
from mmfss.utils.checkpoint import check_state_dict, follow_sizes, get_state_dict
from mmfss.utils.unwrap import unwrap


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Raise an error if the checkpoint to be tested or resumed does not fit the model.

    MMEngine's runner would log a warning and continue with fresh weights. The tools add this hook; a config that
    fine-tunes from other weights (``load_from``) does without.

    Args:
        source (str): The file, for the error.
    """

    priority = 'VERY_HIGH'

    def __init__(self, source: str = 'the checkpoint') -> None:
        self.source = source

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Compare the checkpoint with the model; rename the weights of an official implementation before.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was loaded, renamed in place.
        """
        renamed = published_model(checkpoint)
        if renamed is not None:
            checkpoint.clear()
            checkpoint['state_dict'] = renamed
        model = unwrap(runner.model)
        state_dict = get_state_dict(checkpoint)
        follow_sizes(model, state_dict)
        check_state_dict(model, state_dict, self.source)
