"""Work of :mod:`mmfss.commands.test`."""
import argparse
import time
from numbers import Real
from pathlib import Path
from typing import Any, Dict, Optional

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmfss.datasets import EpisodicDataset
from mmfss.engine.hooks import ProgressHook
from mmfss.engine.model_weights import set_checkpoint
from mmfss.engine.runner_setup import prepare_config, print_table
from mmfss.engine.short_start import build_runner
from mmfss.evaluation import EpisodicIoU
from mmfss.evaluation.episode_table import write_episodes
from mmfss.evaluation.protocol import protocol_deviations
from mmfss.evaluation.threshold_choice import apply_choice, check_not_tested, load_choice
from mmfss.models import BaseFewShotSegmentor
from mmfss.models.segmentors import PresenceJudge
from mmfss.utils.config import add_hook, set_episodes, set_test_data
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import check_output_file, check_writable, dump_json
from mmfss.utils.versions import versions


def check_drawable(cfg: Config) -> None:
    """Raise a ConfigError if the model is not tested on episodes, which is what --show-dir draws."""
    model = cfg.get('model') or {}
    if 'decode_head' in model:
        raise ConfigError(f'--show-dir draws episodes; the model of "{cfg.filename}" is a {model.get("type")}, which '
                          'has none. tools/explain.py draws what models with prototypes segment.')


def test(runner: Runner, threshold: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Run the test and describe it completely; ``threshold`` says which there is and where it comes from."""
    start = time.perf_counter()
    if 'chosen_on_classes' in (threshold or {}):
        check_not_tested(threshold, runner.test_loop.dataloader.dataset.metainfo)
    metrics = runner.test()
    dataset = runner.test_dataloader.dataset
    return dict(
        metrics=metrics,
        threshold=threshold,
        config=runner.cfg.filename,
        checkpoint=runner.cfg.load_from,
        # An ordinary dataset has no episodes.
        episodes={key: value for key, value in dataset.metainfo.items() if key != 'label_map'},
        # Why the figures do not compare with published ones; empty if they do.
        protocol=protocol_deviations(dataset) if isinstance(dataset, EpisodicDataset) else None,
        loop=runner.cfg.test_cfg.to_dict(),
        processes=runner.world_size,
        seconds=round(time.perf_counter() - start, 1),
        versions=versions())


def judge_presence(model: nn.Module, calibration: Optional[str]) -> None:
    """Let a model judge the presence of classes while it is tested.

    Raises:
        ConfigError: If it cannot, or the calibration is wrong.
        FileNotFoundError: If there is no such file.
    """
    model = model.module if is_model_wrapper(model) else model
    if not isinstance(model, BaseFewShotSegmentor):
        raise ConfigError(f'--presence is for few-shot models; this is a {type(model).__name__}.')
    model.presence_judge = PresenceJudge.load(calibration)


def write_table(runner: Runner, path: Path) -> None:
    """Write ``episodes.csv`` beside the results, if the test was one of episodes."""
    for metric in runner.test_loop.evaluator.metrics:
        if isinstance(metric, EpisodicIoU) and metric.episodes:
            write_episodes(metric.episodes, path.parent / 'episodes.csv')
            return


def report(results: Dict[str, Any], path: Path) -> None:
    """Print the table and save everything."""
    episodes = results['episodes']
    figures = [(name, value if isinstance(value, int) else float(value))
               for name, value in results['metrics'].items() if isinstance(value, Real)]
    title, lists = Path(results['config']).stem, []
    if 'num_ways' in episodes:
        title = '{num_ways}-way {num_shots}-shot, {dataset_name} fold {fold}'.format(**episodes)
        lists = [('split lists', episodes['lists'])]
    if results['threshold'] is not None:
        lists.append(('threshold', '{value:g} ({source})'.format(**results['threshold'])))
    print_table(title, [*figures, *lists, ('seconds', results['seconds']), ('results', path)])
    dump_json(results, path)


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    if args.out is not None:
        check_output_file(args.out, '--out')
    # Config
    if args.test_data is not None:
        set_test_data(cfg, args.test_data, args.cfg_options)
    set_episodes(cfg, num_shots=args.shots, num_ways=args.ways, num_episodes=args.episodes, seed=args.seed)
    set_checkpoint(cfg, args.checkpoint)
    if args.show_dir is not None:
        check_drawable(cfg)
        check_writable(args.show_dir, 'folder', '--show-dir')
        add_hook(cfg, dict(type='EpisodeVisualizationHook', out_dir=str(args.show_dir)))
    choice = None if args.threshold_from is None else load_choice(args.threshold_from, cfg, args.config)
    threshold = apply_choice(cfg, choice)
    # Test and report
    runner = build_runner(cfg)
    runner.register_hook(ProgressHook())
    if args.presence is not None:
        judge_presence(runner.model, args.presence or None)
    results = test(runner, threshold)
    if runner.rank == 0:
        meta = results['episodes']
        name = 'results.json'
        if 'num_ways' in meta:
            name = f'results_{meta["num_ways"]}way_{meta["num_shots"]}shot_seed{meta["seed"]}.json'
        path = args.out or Path(cfg.work_dir) / name
        write_table(runner, path)
        report(results, path)
