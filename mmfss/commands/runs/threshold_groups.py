"""Work of :mod:`mmfss.commands.threshold_groups`."""
import argparse

import torch
from mmengine.registry import DefaultScope

from mmfss.engine.runner_setup import prepare_config
from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_output_file, dump_json


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    check_output_file(args.dst, 'DST')
    if args.dst.suffix == '.json':
        raise ConfigError(f'DST is the model, but "{args.dst}" is where the report goes: name another file, *.pth.')
    register_all_modules()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        model = MODELS.build(cfg.model)
    head = getattr(model, 'decode_head', None)
    if not getattr(head, 'num_groups', 0):
        raise ConfigError(f'The model of "{args.config}" has no groups: its decode_head is a '
                          f'{type(head).__name__}, not a ScaleProtoGroupHead.')
    meta = load_model_checkpoint(model, args.checkpoint).get('meta', {}).get('dataset_meta') or {}
    before = head.entropy()
    head.threshold_groups(args.threshold)
    report = group_report(head, args.threshold, meta.get('classes'), before)
    with atomic_path(args.dst) as temporary:
        torch.save(dict(meta=dict(dataset_meta=meta), state_dict=model.state_dict()), temporary)
    dump_json(report, args.dst.with_suffix('.json'))
    print_report(report)
