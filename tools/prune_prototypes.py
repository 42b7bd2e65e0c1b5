"""Prune the prototypes of a pushed model as ProtoSeg does, over the data of the config's PrototypePushHook.

Afterwards train the last layer again: tools/train_scaleproto.py CONFIG --phases last_layer --load-from DST

Example:
    python tools/prune_prototypes.py configs/scaleprotoseg/resnet18_shapes_stage1.py pushed.pth pruned.pth
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from push_prototypes import push_options

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.engine.runner_setup import add_common_arguments, plain_errors, prepare_config, print_table
from mmfss.prototypes.pruning import prune_prototypes
from mmfss.registry import DATASETS, MODELS, register_all_modules
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_output_file, dump_json


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='config of stage 1')
    parser.add_argument('checkpoint', help='pushed model')
    parser.add_argument('dst', type=Path, help='file to write, not *.json; a record goes beside it')
    parser.add_argument('--num-nearest', type=int, default=6, help='nearest images that are looked at')
    parser.add_argument('--min-hits', type=int, default=3, help='how many of them must show the class')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with plain_errors():
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


if __name__ == '__main__':
    main()
