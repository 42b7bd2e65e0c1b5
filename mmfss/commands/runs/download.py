"""Work of :mod:`mmfss.commands.download`."""
import argparse
from pathlib import Path
from typing import Any, Iterator, Optional

from prettytable import PrettyTable

from mmfss.converters.archives import unpack
from mmfss.converters.publishers import BY_HAND, PUBLICATIONS, SPLITS_URL, Archive, Publication
from mmfss.converters.sbd_masks import merge_sbd, voc_masks
from mmfss.datasets import known_counts
from mmfss.datasets.split_lists import recognize_lists
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.download import DownloadError, download, fetch_checkpoint
from mmfss.utils.files import check_writable, dump_json
from mmfss.utils.model_index import UnknownModelError, find_config
from mmfss.utils.names import did_you_mean

COUNTS = {
    'voc2012': ('VOCdevkit/VOC2012', known_counts.VOC_2012),
    'sbd': ('VOCdevkit/VOC2012', known_counts.VOC_SBD),
    'coco2014': ('coco2014', known_counts.COCO_2014),
    'fss1000': ('FSS-1000', known_counts.FSS_1000),
    'lvis': ('lvis', known_counts.LVIS),
    'ade20k': ('ade/ADEChallengeData2016', known_counts.ADE20K),
    'isic': ('ISIC', known_counts.ISIC),
}  # yapf: disable


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    if not args.names:
        print(overview())
        return
    tasks = [(name, _config_of(name)) for name in args.names]
    check_writable(args.data_root, 'data folder', '--data-root')
    complete = True
    # SBD is merged into VOC 2012, which therefore comes first.
    for name, config in sorted(tasks, key=lambda task: task[0] != 'voc2012'):
        if config is not None:
            fetch_weights(config)
        elif name == 'splits':
            complete &= fetch_splits(args.data_root)
        else:
            complete &= fetch_dataset(name, args.data_root, args.keep_archives)
    if not complete:
        raise SystemExit(1)


def overview() -> str:
    """Return the table of all datasets."""
    table = PrettyTable(['name', 'dataset', 'download', 'page of the publisher (terms of use)'], align='l')
    for name, data in PUBLICATIONS.items():
        table.add_row([name, data.title, data.disk, data.page])
    table.add_row(['splits', 'published split lists (PASCAL-5i, COCO-20i, FSS-1000)', 'about 20 MB',
                   'https://github.com/pawn-sxy/DCAMA'])
    return f'{table}\nNot to be downloaded without a registration, or at all: {", ".join(BY_HAND)}.\n' \
           'mmfss download NAME ... downloads; the name of a model or a config file stands for its weights.'


def _config_of(name: str) -> Optional[Path]:
    """Return the config whose weights are meant; None for a dataset."""
    if name in PUBLICATIONS or name == 'splits':
        return None
    if name in BY_HAND:
        raise ConfigError(BY_HAND[name])
    try:
        config = find_config(name)
    except UnknownModelError as error:
        hint = did_you_mean(name, [*PUBLICATIONS, 'splits'], limit=2)
        raise ConfigError(f'There is no dataset and no model "{name}".{hint} "mmfss download" lists the datasets, '
                          '"mmfss configs list" the models.') from error
    if not config.is_file():
        raise ConfigError(f'The config "{config}" does not exist.')
    return config


def fetch_dataset(name: str, data_root: Path, keep_archives: bool) -> bool:
    """Download and unpack a dataset; return whether it has as many files as it should."""
    data: Publication = PUBLICATIONS[name]
    print(f'{data.title}\n  terms of use: {data.page}', flush=True)
    if name == 'sbd':
        voc_masks(data_root / data.archives[0].folder)
    for archive in data.archives:
        _fetch_archive(name, archive, data_root, keep_archives)
    folder, counts = COUNTS[name]
    compared = list(known_counts.compare_counts(data_root / folder, counts))
    for line, _ in compared:
        print(f'  {line}')
    complete = all(agrees for _, agrees in compared)
    if not complete:
        print(f'  Files are missing, or there are others: to fetch an archive again, delete its record in '
              f'{_downloads(data_root)}.')
    if data.then:
        print(f'  {data.then}')
    return complete


def _downloads(data_root: Path) -> Path:
    return data_root / 'downloads'


def _fetch_archive(name: str, archive: Archive, data_root: Path, keep: bool) -> None:
    path = _downloads(data_root) / archive.file_name
    record = path.with_name(f'{path.name}.json')
    if record.is_file():
        print(f'  {archive.file_name}: was unpacked before ({record})', flush=True)
        return
    print(f'  {archive.url}', flush=True)
    download(archive.url, path, archive.checksum, archive.size)
    folder = data_root / archive.folder
    files = merge_sbd(path, folder) if name == 'sbd' else unpack(path, folder, archive.files)
    dump_json(dict(url=archive.url, size=path.stat().st_size, checksum=archive.checksum or None, folder=folder,
                   files=files), record)
    if not keep:
        path.unlink()


def fetch_splits(data_root: Path) -> bool:
    """Download the published split lists; return whether all of them are recognized."""
    print('split lists of the official DCAMA implementation, which are those of HSNet', flush=True)
    complete = True
    for benchmark in ('pascal', 'coco', 'fss'):
        folder = data_root / 'splits' / benchmark
        for part in recognize_lists(benchmark, folder):
            download(SPLITS_URL.format(benchmark=benchmark, part=part), folder / part)
        line, official = known_counts.compare_lists(benchmark, folder)
        print(f'  {line}')
        complete &= official
    return complete


def fetch_weights(config: Path) -> None:
    """Download all checkpoints that a config names by address."""
    addresses = dict.fromkeys(_addresses(load_config(config).to_dict()))
    print(f'weights of {config}: ' + (f'{len(addresses)} files' if addresses else 'none is named by an address'))
    for address in addresses:
        try:
            print(f'  {fetch_checkpoint(address)}', flush=True)
        except DownloadError as error:
            raise DownloadError(f'{config}: {error}') from error


def _addresses(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        checkpoint = node.get('checkpoint')
        if isinstance(checkpoint, str) and checkpoint.startswith(('http://', 'https://')):
            yield checkpoint
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _addresses(value)
