"""Work of :mod:`mmfss.commands.prune_prototypes`."""
import argparse

from mmengine.device import get_device
from mmengine.registry import DefaultScope

from mmfss.engine.runner_setup import prepare_config, print_table
from mmfss.prototypes.pruning import prune_prototypes
from mmfss.registry import DATASETS
from mmfss.utils.checkpoint import load_model_checkpoint
from .changed_model import build_model, check_destination, save_changed
from .push_prototypes import push_options


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    check_destination(args.dst)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        dataset = DATASETS.build(push_options(cfg)['dataset'])
        model = build_model(cfg)
        meta = load_model_checkpoint(model, args.checkpoint).get('meta', {})
        record = prune_prototypes(model.to(get_device()), dataset, args.num_nearest, args.min_hits)
    path = save_changed(model, meta.get('dataset_meta'), record, args.dst)
    print_table('pruning', [('kept', len(record['kept'])), ('pruned', len(record['pruned'])), ('model', args.dst),
                            ('record', path)])
