"""Settings of the server, the same for all visitors: set once, before the server starts."""
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mmfss.utils.defaults import DEFAULT_MODEL

DEMO_CONFIG = 'configs/dcama/resnet18_shapes_fold0.py'
DEMO_CHECKPOINTS = ('work_dirs/demo', 'fold0/*.pth')


@dataclass(frozen=True)
class ModelChoice:
    """Name a model that visitors may choose.

    Attributes:
        title (str): What the page calls it.
        config (str): Config file, or name in the model zoo.
        checkpoint (str, optional): Checkpoint, unless the model needs none.
    """
    title: str
    config: str
    checkpoint: Optional[str] = None


@dataclass
class Settings:
    """Hold what the command line said.

    Attributes:
        models (tuple[ModelChoice, ...]): The models; the first is loaded when the server starts.
        data (str, optional): Config whose test episodes are offered.
        run (str, optional): ``episodes.csv`` of a finished test, for its worst episodes.
        device (str, optional): Device of the models.
        waiting (int): Computations that may wait for the model; more are refused.
    """
    models: tuple[ModelChoice, ...] = (ModelChoice('EfficientNet-Lite2, no training', DEFAULT_MODEL), )
    data: Optional[str] = None
    run: Optional[str] = None
    device: Optional[str] = None
    waiting: int = 16


SETTINGS = Settings()


def configure(config: Optional[str] = None, checkpoint: Optional[str] = None, data: Optional[str] = None,
              run: Optional[str] = None, device: Optional[str] = None) -> None:
    """Set the settings of this process from the command line.

    Args:
        config (str, optional): Config of a model that stands first in the list.
        checkpoint (str, optional): Its checkpoint.
        data (str, optional): Config whose test episodes are offered.
        run (str, optional): ``episodes.csv`` of a finished test.
        device (str, optional): Device of the models.
    """
    models = list(Settings().models)
    demo = _demo_checkpoint()
    if demo is not None:
        models.append(ModelChoice('DCAMA of the demo, trained on shapes', DEMO_CONFIG, demo))
    if config is not None:
        models.insert(0, ModelChoice(Path(config).stem, config, checkpoint))
    SETTINGS.models, SETTINGS.data, SETTINGS.run, SETTINGS.device = tuple(models), data, run, device


def _demo_checkpoint() -> Optional[str]:
    """Find the checkpoint that ``make demo`` left, if it did."""
    folder, pattern = DEMO_CHECKPOINTS
    found = sorted(Path(folder).rglob(pattern)) if Path(folder).is_dir() else []
    best = [path for path in found if path.name.startswith('best')]
    return str((best or found)[-1]) if found else None
