"""Count and measure the models of the zoo, and write the table of ``docs/en/model_zoo.md``.

Parameters and multiply-adds are counted and come out the same everywhere. Time and memory of the head, as ratios to one
pass of the backbone, are measured on this machine. Results go to a JSON file, the table between two marks of the page.

Examples:
    python tools/analysis_tools/zoo_table.py                                     # all models of the JSON file, anew
    python tools/analysis_tools/zoo_table.py configs/dcama/resnet50_coco20i_fold0.py      # adds or renews one
    python tools/analysis_tools/zoo_table.py --count-only                        # keeps what was measured
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import json
import platform
from pathlib import Path
from typing import Any, Sequence

import torch
from zoo_cases import PASSES, Passes, count, measure

from mmfss.apis.model_zoo import load_model_index
from mmfss.utils.files import atomic_path, dump_json
from mmfss.utils.package_root import get_package_root

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'en' / 'model_zoo.md'
MARKS = ('<!-- begin of the table by tools/analysis_tools/zoo_table.py -->\n',
         '<!-- end of the table by tools/analysis_tools/zoo_table.py -->')
HEADER = """\
| method | backbone | input | parameters: backbone | head | GMACs: backbone | head | head's time | head's memory |
|---|---|---|---:|---:|---:|---:|---:|---:|
"""

Row = dict[str, Any]


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', help='configs to add or renew, relative to the repository; default: all '
                        'of the JSON file')
    parser.add_argument('--page', type=Path, default=PAGE, help='page with the marks between which the table goes')
    parser.add_argument('--out', type=Path, help='file of the results, JSON; default: beside the page')
    parser.add_argument('--count-only', action='store_true', help='measure nothing, keep what was measured before')
    parser.add_argument('--repeat-times', type=int, default=3, help='timed runs of each pass')
    args = parser.parse_args()
    args.out = args.out or args.page.with_suffix('.json')
    if args.repeat_times < 1:
        parser.error('--repeat-times must be at least 1')
    known = {entry['Config'] for entry in load_model_index().values()}
    unknown = [config for config in args.configs if config not in known]
    if unknown:
        parser.error(f'"{unknown[0]}" is the config of no model in model-index.yml; write it as there, e.g. '
                     'configs/dcama/resnet50_coco20i_fold0.py')
    if not args.configs and not args.out.is_file():
        parser.error(f'there is no "{args.out}" whose models could be renewed: name configs')
    try:
        split_page(args.page)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return args


def split_page(page: Path) -> tuple[str, str, str]:
    """What stands before, between and after the marks of a page.

    Raises:
        ValueError: If it does not have each mark once, in order.
    """
    before, begin, rest = page.read_text(encoding='utf-8').partition(MARKS[0])
    table, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f'"{page}" lacks the marks between which the table goes: {MARKS[0].strip()} {MARKS[1]}')
    return before, table, after


def labels(config: str) -> Row:
    """Names of method and backbone, from the method's metafile."""
    entry = next(entry for entry in load_model_index().values() if entry['Config'] == config)
    backbone, method = entry['Metadata']['Architecture'][:2]
    return dict(config=config, method=method, backbone=backbone)


def result(config: str, args: argparse.Namespace, known: Row) -> Row:
    """A model, counted and, if wanted, measured.

    Args:
        config (str): Its config, relative to the repository.
        args (Namespace): The command line.
        known (dict): What is known of it; measurements of this are kept with ``--count-only``.
    """
    print(f'{config} ...', flush=True)
    path = str(get_package_root() / config)
    passes = Passes(path)
    row = dict(labels(config), **count(passes))
    if args.count_only or passes.device == 'meta':
        return dict(row, measured=known.get('measured'))
    measured = measure(passes, path, args.repeat_times)
    return dict(row, measured=measured)


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    return HEADER + ''.join(f'| {" | ".join(cells(row))} |\n' for row in rows)


def cells(row: Row) -> list[str]:
    """The columns of a model."""
    measured = row['measured']
    ratios = (measured['time_ratio']['median'], measured['memory_ratio']) if measured else ()
    return [
        f'[{row["method"]}](../../{row["config"]})', row['backbone'], ' x '.join(map(str, row['input'])),
        *(f'{row["parameters"][name]:,}' for name in PASSES), *(f'{row["macs"][name] / 1e9:.3g}' for name in PASSES),
        *([f'{ratio:.2g} x' for ratio in ratios] or ['', ''])
    ]


def environment() -> Row:
    """What the ratios depend on."""
    return dict(processor=platform.processor() or platform.machine(), threads=1, torch=torch.__version__)


def write(rows: Sequence[Row], args: argparse.Namespace) -> None:
    """Write the JSON file and the page."""
    dump_json(dict(environment=environment(), models=list(rows)), args.out)
    before, _, after = split_page(args.page)
    with atomic_path(args.page) as path:
        path.write_text(before + MARKS[0] + markdown(rows) + MARKS[1] + after, encoding='utf-8')


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    rows = {row['config']: row for row in json.loads(args.out.read_text())['models']} if args.out.is_file() else {}
    for config in args.configs or list(rows):
        rows[config] = result(config, args, rows.get(config, {}))
        # After each: an interruption costs one model.
        write(list(rows.values()), args)
    print(f'\n{markdown(list(rows.values()))}\npage:  {args.page}\njson:  {args.out}')


if __name__ == '__main__':
    main()
