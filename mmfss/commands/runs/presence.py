"""Work of :mod:`mmfss.commands.presence`."""
import argparse
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from mmfss.apis import init_model
from mmfss.apis.inference import NO_CHECKPOINT
from mmfss.apis.presence import BASELINES, PRESENCE, PresenceStudy, calibration_record
from mmfss.datasets import EpisodicDataset
from mmfss.evaluation.threshold_choice import validates_on_tested_classes
from mmfss.models.layers.class_presence import EVIDENCE
from mmfss.models.segmentors import PresenceJudge
from mmfss.registry import DATASETS
from mmfss.utils.checkpoint_paths import expand_checkpoints, split_configs
from mmfss.utils.config import set_episodes
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import check_writable, dump_json, write_text
from mmfss.utils.versions import versions


def build_datasets(cfg: Config, args: argparse.Namespace) -> tuple[EpisodicDataset, EpisodicDataset]:
    """Validation episodes of training classes, and test episodes; 1-way."""
    if validates_on_tested_classes(cfg):
        raise ConfigError(f'The validation episodes of "{cfg.filename}" show the tested classes, on which nothing may '
                          'be calibrated: --cfg-options val_dataloader.dataset.classes_of=train')
    cfg = Config(dict(test_dataloader=cfg.test_dataloader, val_dataloader=cfg.val_dataloader))
    datasets = []
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        part = Config(dict(test_dataloader=loader, test_cfg={}, test_evaluator={}))
        set_episodes(part, num_shots=args.shots, num_ways=1, num_episodes=args.episodes)
        datasets.append(DATASETS.build(part.test_dataloader.dataset))
    return tuple(datasets)


def study(config: Path, checkpoint: Optional[Path], args: argparse.Namespace) -> dict[str, Any]:
    """Calibrate and measure one model, and save it."""
    model = init_model(config, checkpoint or NO_CHECKPOINT, args.device, args.cfg_options)
    validation, test = build_datasets(model.cfg, args)
    runs = PresenceStudy(model, args.batch_size)
    calibration = runs.calibrate(validation)
    areas = runs.measure(test, PresenceJudge(calibration))
    record = calibration_record(calibration, config=config, checkpoint=checkpoint, calibrated_on=validation.metainfo,
                                measured_on=test.metainfo, areas=areas, versions=versions())
    dump_json(record, args.out / f'{config.parent.name}_{config.stem}.json')
    print(f'{config.stem}: AUC of presence {areas[f"presence/{PRESENCE}"]:.1f} %', flush=True)
    return areas


def table(results: dict[str, dict[str, Any]]) -> str:
    """The areas as Markdown; one row per config."""
    names = [PRESENCE, *BASELINES, *EVIDENCE]
    lines = [f'| config | {" | ".join(names)} | episodes |', '|---|' + '---:|' * (len(names) + 1)]
    for config, areas in results.items():
        values = ' | '.join(f'{areas[f"presence/{name}"]:.1f}' for name in names)
        lines.append(f'| {config} | {values} | {areas["presence/num_present"]} + {areas["presence/num_absent"]} |')
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_writable(args.out, 'folder', '--out')
    configs, patterns = split_configs(args.paths)
    checkpoints = expand_checkpoints(patterns, len(configs)) if patterns else [None] * len(configs)
    results = {config.stem: study(config, checkpoint, args) for config, checkpoint in zip(configs, checkpoints)}
    text = (f'{table(results)}\n\nArea under the ROC curve in per cent, queries that show the class of the supports '
            'against queries that do not. The presence score is calibrated on episodes of training classes; the last '
            'five scores are its evidence.\n')
    write_text(text, args.out / 'table.md')
    print(f'\n{text}\nsaved in {args.out}', flush=True)
