"""Work of :mod:`mmfss.commands.select_support`."""
import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfss.apis import init_model
from mmfss.apis.inference import NO_CHECKPOINT
from mmfss.apis.support_study import ATTRIBUTION, SupportStudy, to_markdown
from mmfss.datasets import EpisodicDataset
from mmfss.datasets.folds import resolve_classes
from mmfss.explainers.building import build_explainers, explainer_configs, set_explainer_options
from mmfss.registry import DATASETS
from mmfss.utils.config import set_episodes
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import check_writable, dump_json, write_text
from mmfss.utils.versions import versions


def build_dataset(cfg: Config, args: argparse.Namespace) -> EpisodicDataset:
    """Build the test dataset, or that of a folder with the same pipeline."""
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


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_writable(args.out, 'folder', '--out')
    configs = explainer_configs([args.explainer])
    set_explainer_options(configs, args.explainer_options)
    study = SupportStudy(build_explainers(configs)[args.explainer], args.shots, args.pool, args.queries,
                         args.test_queries, args.draws, args.seed, args.batch_size)
    model = init_model(args.config, args.checkpoint or NO_CHECKPOINT, args.device, args.cfg_options)
    dataset = build_dataset(model.cfg, args)
    results = study.run(model, dataset, choose_classes(dataset, args.classes), report)
    results.update(explainer=configs[args.explainer], config=args.config, checkpoint=args.checkpoint,
                   data=dataset.metainfo, markdown=to_markdown(results['rows']), versions=versions())
    save(results, args.out)
