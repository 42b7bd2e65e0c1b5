"""Work of :mod:`mmfss.commands.prune_prototypes`."""
import argparse

import torch
from mmengine.device import get_device
from mmengine.registry import DefaultScope

from mmfss.engine.runner_setup import prepare_config, print_table
from mmfss.prototypes.pruning import prune_prototypes
from mmfss.registry import DATASETS, MODELS, register_all_modules
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_output_file, dump_json
from .push_prototypes import push_options


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    check_output_file(args.dst, 'DST')
    if args.dst.suffix == '.json':
        raise ConfigError(f'DST is the model, but "{args.dst}" is where the report goes: name another file, *.pth.')
    register_all_modules()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        dataset = DATASETS.build(push_options(cfg)['dataset'])
        model = MODELS.build(cfg.model)
        meta = load_model_checkpoint(model, args.checkpoint).get('meta', {})
        record = prune_prototypes(model.to(get_device()), dataset, args.num_nearest, args.min_hits)
    with atomic_path(args.dst) as temporary:
        weights = {name: value.cpu() for name, value in model.state_dict().items()}
        torch.save(dict(meta=dict(dataset_meta=meta.get('dataset_meta')), state_dict=weights), temporary)
    path = args.dst.with_suffix('.json')
    dump_json(record, path)
    print_table('pruning', [('kept', len(record['kept'])), ('pruned', len(record['pruned'])), ('model', args.dst),
                            ('record', path)])
