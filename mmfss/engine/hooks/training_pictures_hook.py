"""Checkpoints that say on what kind of pictures the model was trained."""
from typing import Any, Dict, List

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmfss.datasets.picture_statistics import picture_statistics
from mmfss.registry import HOOKS

TRAINED_ON = 'trained_on'


@HOOKS.register_module()
class TrainingPicturesHook(Hook):
    """Add ``meta.trained_on`` to checkpoints: the dataset's name and statistics of the first training pictures.

    From these, :func:`~mmfss.datasets.picture_statistics.unlike_training` tells whether a photograph is of another
    kind. The hook draws no random numbers and reads no picture itself.

    Args:
        number (int): Pictures to describe. Defaults to 256.
    """

    def __init__(self, number: int = 256) -> None:
        self.number = number
        self.statistics: List[Tensor] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Continue the record of a resumed run."""
        record = checkpoint.get('meta', {}).get(TRAINED_ON)
        if runner._resume and record is not None:
            self.statistics = list(record['statistics'].unbind())

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Describe the pictures of a batch, as the model receives them."""
        missing = self.number - len(self.statistics)
        if missing > 0 and isinstance(data_batch, dict) and 'inputs' in data_batch:
            inputs = data_batch['inputs']
            pictures = list(inputs.get('query', ()) if isinstance(inputs, dict) else inputs)[:missing]
            self.statistics += [picture_statistics(picture).cpu() for picture in pictures
                                if picture.ndim == 3 and len(picture) == 3]

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Add the record."""
        if self.statistics:
            dataset = type(runner.train_dataloader.dataset).__name__
            checkpoint['meta'][TRAINED_ON] = dict(dataset=dataset, statistics=torch.stack(self.statistics))
