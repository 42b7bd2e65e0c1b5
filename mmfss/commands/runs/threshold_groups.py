"""Work of :mod:`mmfss.commands.threshold_groups`."""
import argparse

from mmfss.engine.runner_setup import prepare_config
from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from .changed_model import build_model, check_destination, save_changed


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    check_destination(args.dst)
    model = build_model(cfg)
    head = getattr(model, 'decode_head', None)
    if not getattr(head, 'num_groups', 0):
        raise ConfigError(f'The model of "{args.config}" has no groups: its decode_head is a '
                          f'{type(head).__name__}, not a ScaleProtoGroupHead.')
    meta = load_model_checkpoint(model, args.checkpoint).get('meta', {}).get('dataset_meta') or {}
    before = head.entropy()
    head.threshold_groups(args.threshold)
    report = group_report(head, args.threshold, meta.get('classes'), before)
    save_changed(model, meta, report, args.dst)
    print_report(report)
