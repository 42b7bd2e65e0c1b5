"""Set the small group weights of a stage-2 model to 0 and report how sparse the groups are.

Example:
    python tools/threshold_groups.py configs/scaleprotoseg/resnet18_shapes_stage2.py iter_300.pth thresholded.pth
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path

import torch
from mmengine.registry import DefaultScope

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.engine.runner_setup import add_common_arguments, plain_errors, prepare_config
from mmfss.evaluation.prototypes.group_report import group_report, print_report
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_output_file, dump_json


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='config of stage 2')
    parser.add_argument('checkpoint', help='checkpoint of stage 2')
    parser.add_argument('dst', type=Path, help='file to write, not *.json; the report goes beside it')
    parser.add_argument('--threshold', type=float, default=0.05, help='smallest weight that stays; default: 0.05')
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


if __name__ == '__main__':
    main()
