"""Train a model in phases, e.g. both stages of ScaleProtoSeg.

Phases of all configs run one after the other, each from the result of the one before. With --resume, phases that have
ended are left out and the one that was cut off goes on exactly where it stopped, in the middle of the push too.

Example:
    python tools/train_scaleproto.py configs/scaleprotoseg/resnet18_shapes_stage1.py \
        configs/scaleprotoseg/resnet18_shapes_stage2.py
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path

from mmengine.dist import is_main_process

import mmfss  # noqa: F401  (at the top: workers of the data loader import this file first)
from mmfss.engine.phases import Phase, phases_of, train_phases
from mmfss.engine.runner_setup import (
    add_common_arguments,
    add_resume_schedule,
    default_work_dir,
    plain_errors,
    prepare_config,
    print_table,
    set_resume_schedule,
)
from mmfss.utils.config import set_seed
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from mmfss.utils.versions import versions


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', type=Path, nargs='+', help='configs with phases, in order')
    parser.add_argument('--phases', nargs='+', metavar='NAME', help='only these phases; default: all')
    parser.add_argument('--load-from', help='checkpoint that the first phase starts from')
    parser.add_argument('--resume', action='store_true', help='continue where an earlier run stopped')
    add_resume_schedule(parser)
    parser.add_argument('--amp', action='store_true', help='train in bfloat16; prototypes are compared in float32')
    parser.add_argument('--seed', type=int, help='seed of initialisation; default: that of the config')
    add_common_arguments(parser)
    return parser.parse_args()


def collect(args: argparse.Namespace) -> list[Phase]:
    """Phases of all configs, with the command line's wishes."""
    phases: list[Phase] = []
    common = args.work_dir
    for path in args.configs:
        work_dir = common / path.stem if common else default_work_dir(path)
        args.config, args.work_dir = path, work_dir
        cfg = prepare_config(args)
        set_seed(cfg, args.seed)
        set_resume_schedule(cfg, args.resume_schedule)
        for phase in phases_of(cfg, work_dir):
            if args.amp:
                phase.cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
            phases.append(phase)
    names = [phase.name for phase in phases]
    unknown = sorted(set(args.phases or names) - set(names))
    if unknown:
        raise ConfigError(f'--phases {" ".join(unknown)}: the configs have {", ".join(names)}.')
    args.work_dir = work_dir
    return [phase for phase in phases if not args.phases or phase.name in args.phases]


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with plain_errors():
        phases = collect(args)
        if args.load_from and '://' not in args.load_from and not Path(args.load_from).is_file():
            raise FileNotFoundError(f'The checkpoint "{args.load_from}" (--load-from) does not exist.')
        path = args.work_dir / 'train_summary.json'
        if is_main_process():
            path.unlink(missing_ok=True)
        outcomes = train_phases(phases, args.load_from, args.resume)
        dump_json(dict(phases=outcomes, versions=versions()), path)
        rows = [(outcome['name'], ', '.join([*(f'{name} {value:.2f}' for name, value in outcome['metrics'].items()),
                                             outcome['result']])) for outcome in outcomes]
        print_table('phases', [*rows, ('summary', path)])


if __name__ == '__main__':
    main()
