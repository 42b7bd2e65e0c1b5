"""Work of :mod:`mmfss.commands.threshold_groups`."""
import argparse

from mmfss.engine.runner_setup import prepare_config
from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.prototypes.embedding import group_head
from mmfss.utils.checkpoint import load_model_checkpoint
from .changed_model import build_model, check_destination, save_changed


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    check_destination(args.dst)
    model = build_model(cfg)
    head = group_head(model)
    meta = load_model_checkpoint(model, args.checkpoint).get('meta', {}).get('dataset_meta') or {}
    before = head.entropy()
    head.threshold_groups(args.threshold)
    report = group_report(head, args.threshold, meta.get('classes'), before)
    save_changed(model, meta, report, args.dst)
    print_report(report)
