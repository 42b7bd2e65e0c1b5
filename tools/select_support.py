"""Choose support images: ``python tools/select_support.py CONFIG CHECKPOINT --shots 1 3``.

Candidates of each class are ranked for some queries, and the best are measured on other queries, against random
choices. With ``--folder`` on one's own pictures, ``<class>/images/*`` and ``<class>/masks/*``.
"""
import mmfss_threads  # noqa: F401  (before PyTorch)

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmfss  # noqa: F401  (first: it prepares the import of MMSegmentation)
from mmfss.apis import init_model
from mmfss.apis.support_study import ATTRIBUTION, SupportStudy, to_markdown
from mmfss.datasets import EpisodicDataset
from mmfss.datasets.folds import resolve_classes
from mmfss.engine.runner_setup import plain_errors
from mmfss.explainers.building import build_explainers, explainer_configs, set_explainer_options
from mmfss.registry import DATASETS
from mmfss.utils.config import set_episodes
from mmfss.utils.config_options import ConfigError, OptionsAction
from mmfss.utils.files import check_writable, dump_json, write_text
from mmfss.utils.versions import versions


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Rank candidate support images of each class by what explanations credit them with and by what the '
        'pool loses without them, and measure the chosen ones against random choices.')
    parser.add_argument('config', type=Path, help='config file, e.g. configs/dcama/swinb_coco20i_fold0.py')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--folder', type=Path, help='folder of your own class folders, instead of the test data')
    parser.add_argument('--upright', action=argparse.BooleanOptionalAction,
                        help='masks of --folder without an EXIF orientation were drawn on the upright picture; '
                        '--no-upright: on it as it is stored, nothing is turned; to be given where files do not tell')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='names of classes, or their ids where no class is called by a number (id:3 is always '
                        'an id); default: all of the test')
    parser.add_argument('--explainer', default='masked_affex', help='for the attribution; default: masked_affex')
    parser.add_argument('--explainer-options', nargs='+', action=OptionsAction, default={}, metavar='NAME.OPTION=VALUE',
                        help='options of the explainer, e.g. masked_affex.mask_blur_kernel_size=1')
    parser.add_argument('--shots', type=int, nargs='+', default=[1], metavar='K', help='supports to choose; default: 1')
    parser.add_argument('--pool', type=int, default=12, help='candidates of a class; default: 12')
    parser.add_argument('--queries', type=int, default=8, help='queries to rank candidates by; default: 8')
    parser.add_argument('--test-queries', type=int, default=24,
                        help='other queries to measure on; default: 24, or what a class has')
    parser.add_argument('--draws', type=int, default=20, help='random choices; default: 20')
    parser.add_argument('--seed', type=int, default=0, help='seed of images and random choices; default: 0')
    parser.add_argument('--batch-size', type=int, default=8, help='images that go through the model together')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/select_support'),
                        help='folder of the results; default: work_dirs/select_support')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, default={}, metavar='KEY=VALUE',
                        help='change keys of the config')
    return parser.parse_args()


def build_dataset(cfg: Config, args: argparse.Namespace) -> EpisodicDataset:
    """The test data, or a folder prepared by its pipeline."""
    if args.folder is not None:
        cfg.test_dataloader.dataset = dict(
            type='ImageFolderDataset', data_root=str(args.folder), fold=None, num_folds=1, upright=args.upright,
            pipeline=cfg.test_dataloader.dataset.pipeline)
    set_episodes(cfg, num_shots=1, num_ways=1)
    return DATASETS.build(cfg.test_dataloader.dataset)


def choose_classes(dataset: EpisodicDataset, names: list[str]) -> tuple[int, ...]:
    """Class ids of the test data by name or number; all by default."""
    if not names:
        return tuple(dataset.class_ids)
    class_ids = resolve_classes(names, dataset.index.classes)
    strange = [dataset.index.classes[number] for number in class_ids if number not in dataset.class_ids]
    if strange:
        known = ', '.join(dataset.index.classes[number] for number in dataset.class_ids)
        raise ConfigError(f'--classes: "{strange[0]}" is not among the classes of the test: {known}.')
    return class_ids


def report(result: dict[str, Any]) -> None:
    """Print one class."""
    best = '; '.join(f'{count}-shot {", ".join(chosen[ATTRIBUTION])}' for count, chosen in result['chosen'].items())
    print(f'{result["class_name"]}: by attribution {best}', flush=True)


def save(results: dict[str, Any], out: Path) -> None:
    """Print and save everything."""
    text = (f'{results["markdown"]}\nmIoU of {len(results["classes"])} class(es), per cent, on queries that took no '
            'part in choosing. Random: choices from the same candidates.\n')
    dump_json(results, out / 'select_support.json')
    write_text(text, out / 'select_support.md')
    print(f'\n{text}\nsaved as {out / "select_support.md"} and .json', flush=True)


def main() -> None:
    args = parse_args()
    with plain_errors():
        check_writable(args.out, 'folder', '--out')
        configs = explainer_configs([args.explainer])
        set_explainer_options(configs, args.explainer_options)
        study = SupportStudy(build_explainers(configs)[args.explainer], args.shots, args.pool, args.queries,
                             args.test_queries, args.draws, args.seed, args.batch_size)
        model = init_model(args.config, args.checkpoint, args.device, args.cfg_options)
        dataset = build_dataset(model.cfg, args)
        results = study.run(model, dataset, choose_classes(dataset, args.classes), report)
        results.update(explainer=configs[args.explainer], config=args.config, checkpoint=args.checkpoint,
                       data=dataset.metainfo, markdown=to_markdown(results['rows']), versions=versions())
        save(results, args.out)


if __name__ == '__main__':
    main()
