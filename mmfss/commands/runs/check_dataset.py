"""Work of :mod:`mmfss.commands.check_dataset`."""
import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

from mmengine.config import ConfigDict
from mmengine.utils import ProgressBar
from prettytable import PrettyTable

from mmfss.datasets.checking import Fault, check_dataset
from mmfss.datasets.known_counts import describe_counts
from mmfss.registry import register_all_modules
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import check_output_file, dump_json
from mmfss.utils.names import file_name, visible

SHOWN = 100


def datasets_of(args: argparse.Namespace) -> Dict[str, ConfigDict]:
    """Config of each dataset to check, by the names of its splits; equal ones once.

    Raises:
        ConfigError: If the config has none, or the folder is no folder of images.
    """
    if args.data.is_dir():
        # A folder of class folders, or one class folder
        root, class_ids = args.data, None
        if (root / 'images').is_dir():
            root, class_ids = root.absolute().parent, [root.absolute().name]
        return {'folder': ConfigDict(type='ImageFolderDataset', data_root=str(root), fold=None, num_folds=1,
                                     class_ids=class_ids, num_shots=args.shots, pipeline=[])}
    # The loaders of a config; equal ones are read once
    cfg = load_config(args.data, args.cfg_options)
    loaders = {split: cfg.get(f'{split}_dataloader') for split in args.splits}
    found: List[Tuple[str, ConfigDict]] = []
    for split, dataset in ((split, loader.dataset) for split, loader in loaders.items() if loader):
        equal = [place for place, (_, other) in enumerate(found) if other == dataset]
        if equal:
            found[equal[0]] = (f'{found[equal[0]][0]}, {split}', dataset)
        else:
            found.append((split, dataset))
    if not found:
        raise ConfigError(f'"{args.data}" has none of the loaders {", ".join(args.splits)} (--splits).')
    return dict(found)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def with_progress(items: Iterable, total: int) -> Iterable:
    """Show a bar while iterating."""
    bar = ProgressBar(total)
    for item in items:
        yield item
        bar.update()
    print(flush=True)


def report(faults: List[Tuple[str, Fault]], path: Path) -> None:
    """Print the table."""
    table = PrettyTable(['data', 'kind', 'class', 'file', 'problem'], align='l', max_width=60)
    table.add_rows([[split, fault.kind, visible(fault.class_name), visible(fault.file), fault.problem]
                    for split, fault in faults[:SHOWN]])
    if faults:
        print(table)
    if len(faults) > SHOWN:
        print(f'{len(faults) - SHOWN} more are in {path}')


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    jobs = cores() if args.jobs is None else args.jobs
    if jobs < 0 or args.shots < 1:
        raise ConfigError(f'--jobs must be 0 or more and --shots 1 or more, got {jobs} and {args.shots}.')
    name = args.data.absolute().name if args.data.is_dir() else args.data.stem
    path = args.out or Path('work_dirs/check_dataset') / file_name(name, '.json')
    check_output_file(path, '--out')
    register_all_modules(init_default_scope=True)
    # Read all files
    faults, images = [], {}
    for split, cfg in datasets_of(args).items():
        print(f'{split}: {cfg.type}', *describe_counts(cfg), sep='\n  ', flush=True)
        images[split], found = check_dataset(cfg, jobs, with_progress)
        faults += [(split, fault) for fault in found]
    report(faults, path)
    # Report
    counts = Counter(fault.kind for _, fault in faults)
    listed = [dict(data=split, **fault._asdict()) for split, fault in faults]
    dump_json(dict(images=images, counts=counts, faults=listed), path)
    by_kind = ', '.join(f'{kind}: {count}' for kind, count in counts.items())
    print(f'{sum(images.values())} images read, {len(faults)} faults{f" ({by_kind})" if faults else ""}: {path}')
    if faults:
        raise SystemExit(1)
