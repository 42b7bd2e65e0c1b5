"""Weights of a model that is tested: from a checkpoint, or none where nothing was trained."""
from typing import Optional

from mmengine.config import Config
from mmengine.runner import Runner

from mmfss.utils.config import add_hook
from .hooks import TrainingFreeHook


def set_checkpoint(cfg: Config, checkpoint: Optional[str]) -> None:
    """Let a runner test a checkpoint, or a training-free model without one.

    Args:
        cfg (Config): The runner's config, changed in place.
        checkpoint (str, optional): File or address. With None, the test begins with the weights that the config
            declares (``init_cfg``), and is refused if the model must be trained.
    """
    cfg.load_from, cfg.resume = checkpoint, False
    if cfg.get('train_cfg') is None:
        # A config of a model without training says nothing of it; MMEngine's runner wants all parts of it or none.
        cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    if checkpoint is None:
        add_hook(cfg, dict(type='TrainingFreeHook'))
    else:
        add_hook(cfg, dict(type='CheckpointGuardHook', source=checkpoint))


def load_weights(runner: Runner) -> None:
    """Load the weights that :func:`set_checkpoint` chose now; the test will not load them again."""
    for hook in runner.hooks:
        if isinstance(hook, TrainingFreeHook):
            hook.before_run(runner)
    runner.load_or_resume()
