"""Push the prototypes when training has ended."""
from pathlib import Path
from typing import Any, Optional

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.engine.prototype_push import PrototypePush
from mmfss.registry import HOOKS


@HOOKS.register_module()
class PrototypePushHook(Hook):
    """Replace every prototype by its nearest training feature at the end of the joint phase.

    Writes ``pushed.pth``, ``prototypes.json`` and ``prototypes/`` to the working directory, from where the next phase
    starts. A run that was killed in the middle of the push is resumed from its last checkpoint and continues it.

    Args:
        out_dir (str, optional): Another folder.
        **push: See :class:`mmfss.engine.PrototypePush`; ``dataset`` is required.
    """

    priority = 'LOWEST'

    def __init__(self, out_dir: Optional[str] = None, **push: Any) -> None:
        self.push, self.out_dir = PrototypePush(**push), out_dir

    def after_train(self, runner: Runner) -> None:
        """Push, on all processes.

        Args:
            runner (Runner): The runner.
        """
        meta = dict(iter=runner.iter, dataset_meta=dict(classes=self.push.dataset.metainfo.get('classes')))
        self.push.run(runner.model, Path(self.out_dir or runner.work_dir), meta)
