"""Check of class lists before a training: of the head, the training data, validation, push and initial weights."""
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmfss.datasets.unaugmented import with_pipeline
from mmfss.models.layers.prototypes import find_layout
from mmfss.prototypes.push import PrototypePush
from mmfss.registry import DATASETS, SCOPE
from mmfss.utils.checkpoint import load_from_local
from mmfss.utils.config_options import ConfigError

Names = Optional[tuple[str, ...]]


class ClassCheck:
    """Compare the class lists of configs of ordinary segmentation; each dataset is built once.

    Configs without a ``decode_head`` of several classes, such as few-shot models, pass.
    """

    def __init__(self) -> None:
        self._known: dict[str, Names] = {}

    def check(self, cfg: Config) -> None:
        """Compare model, training data, validation and push of a config.

        Args:
            cfg (Config): A complete config, without ``phases``.

        Raises:
            ConfigError: If they have different classes.
            FileNotFoundError: If data are missing.
            ValueError: If a dataset refuses its files.
        """
        head = cfg.model.get('decode_head')
        if not isinstance(head, Mapping) or 'num_classes' not in head:
            return
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', SCOPE)):
            training = self._names(cfg.train_dataloader.dataset)
            if training is not None and len(training) != head['num_classes']:
                raise ConfigError(f'model.decode_head.num_classes is {head["num_classes"]}, but the training data have '
                                  f'{len(training)} classes: {_listed(training)}.')
            validation = self._names(cfg.val_dataloader.dataset) if cfg.get('val_dataloader') else None
            if None not in (training, validation) and training != validation:
                raise ConfigError('Training and validation have different classes: '
                                  f'{_listed(training)} in train_dataloader, {_listed(validation)} in val_dataloader.')
            for hook in cfg.get('custom_hooks') or []:
                if hook['type'] == 'PrototypePushHook':
                    push = PrototypePush(hook.get('dataset'))
                    push.use_training_data(cfg)
                    push.check(head['num_classes'], training)

    def check_weights(self, path: str, cfg: Config) -> None:
        """Compare a checkpoint with prototypes that a training starts from with its data.

        Args:
            path (str): The checkpoint, a local file; others pass.
            cfg (Config): See :meth:`check`.

        Raises:
            ConfigError: If its prototypes are those of other classes.
        """
        if not Path(path).is_file() or find_layout(path) is None:
            return
        stored = load_from_local(path, map_location='cpu').get('meta', {}).get('dataset_meta') or {}
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', SCOPE)):
            training = self._names(cfg.train_dataloader.dataset)
        if None not in (training, stored.get('classes')) and training != tuple(stored['classes']):
            raise ConfigError(f'The prototypes of "{path}" (load_from) are those of other data: its classes are '
                              f'{_listed(stored["classes"])}, those of train_dataloader {_listed(training)}.')

    def _names(self, dataset: Mapping[str, Any]) -> Names:
        """Return the class names of a dataset; None if it has none, or has episodes."""
        key = str(dataset)
        if key not in self._known:
            metainfo = DATASETS.build(with_pipeline(dataset, [])).metainfo or {}
            names = None if 'num_shots' in metainfo else metainfo.get('classes')
            self._known[key] = None if names is None else tuple(names)
        return self._known[key]


def _listed(names: Sequence[str], limit: int = 6) -> str:
    more = f', ... ({len(names)})' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
