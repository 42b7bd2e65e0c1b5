"""Work of :mod:`mmfss.commands.push_prototypes`."""
import argparse
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.registry import DefaultScope

from mmfss.datasets.unaugmented import unaugmented
from mmfss.engine.phases import phases_of
from mmfss.engine.runner_setup import prepare_config, print_table
from mmfss.prototypes.push import PrototypePush
from mmfss.prototypes.sources import PROVENANCE, PUSHED
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from .changed_model import build_model


def push_options(cfg: Config) -> dict[str, Any]:
    """Return the arguments of the config's PrototypePushHook, wherever it stands; the dataset is the training data's.

    Raises:
        ConfigError: If there is no such hook.
    """
    places = [phase.cfg for phase in phases_of(cfg, Path())] if cfg.get('phases') else [cfg]
    for place in places:
        for hook in place.get('custom_hooks') or []:
            if hook['type'] == 'PrototypePushHook':
                options = {key: value for key, value in hook.items() if key not in ('type', 'out_dir', 'priority')}
                return dict(options, dataset=options.get('dataset') or unaugmented(place))
    raise ConfigError(f'The config "{cfg.filename}" has no PrototypePushHook, which says what data to push over.')


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    if args.launcher != 'none' and not torch.distributed.is_initialized():
        init_dist(args.launcher)
    out_dir = args.out or Path(cfg.work_dir) / 'push'
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        options = push_options(cfg)
        push = PrototypePush(**dict(options, pictures=options.get('pictures', True) and not args.no_pictures))
        model = build_model(cfg)
        meta = load_model_checkpoint(model, args.checkpoint).get('meta', {})
        record = push.run(model.to(get_device()), out_dir, dict(dataset_meta=meta.get('dataset_meta')))
    print_table('push', [('prototypes', len(record['prototypes'])), ('duplicates', len(record['duplicates'])),
                         ('classes without a cell', ', '.join(record['absent_classes']) or 'none'),
                         ('model', out_dir / PUSHED), ('sources', out_dir / PROVENANCE)])
