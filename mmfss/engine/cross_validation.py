"""Tests of all folds of a benchmark, with resumable results."""
import copy
import hashlib
import json
import re
import time
from itertools import chain
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.evaluation import CopiedMask, PrototypeMatching
from mmfss.utils.config import add_hook
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from mmfss.utils.unwrap import unwrap
from mmfss.utils.versions import versions
from .hooks import ProgressHook

MODEL = 'model'
WRONG_SUPPORT = 'wrong-class support'
CONTROLS = {'copied mask': CopiedMask, 'untrained prototype': PrototypeMatching}
METHODS = (MODEL, WRONG_SUPPORT, *CONTROLS)


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{0..3}`` and ``{a,b}`` like a shell.

    Args:
        pattern (str): A path with any number of braces, not nested.

    Returns:
        list[str]: The paths, the last brace varying fastest.

    Example:
        >>> from mmfss.engine.cross_validation import expand_braces
        >>> expand_braces('fold{0..2}.py')
        ['fold0.py', 'fold1.py', 'fold2.py']
    """
    match = re.search(r'\{(-?\d+)\.\.(-?\d+)\}|\{([^{}]*,[^{}]*)\}', pattern)
    if match is None:
        return [pattern]
    first, last, choices = match.groups()
    if choices is not None:
        values = choices.split(',')
    else:
        step = 1 if int(first) <= int(last) else -1
        values = [str(value) for value in range(int(first), int(last) + step, step)]
    head, tail = pattern[:match.start()], pattern[match.end():]
    return list(chain.from_iterable([head + value + rest for rest in expand_braces(tail)] for value in values))


def expand_checkpoints(patterns: Sequence[str], num_configs: int) -> list[Path]:
    """Find one checkpoint per config.

    Args:
        patterns (Sequence[str]): Paths with braces and the wildcards ``*`` and ``?``; of several matches the newest
            counts.
        num_configs (int): Number of configs.

    Returns:
        list[Path]: The files, in the order of the patterns.

    Raises:
        FileNotFoundError: If a pattern has no match.
        ConfigError: If their number differs from that of the configs.
    """
    expanded = [path for pattern in patterns for path in expand_braces(pattern)]
    if len(expanded) != num_configs:
        raise ConfigError(f'--checkpoints names {len(expanded)} checkpoints ({", ".join(expanded)}) for {num_configs} '
                          'configs: one for each is needed, in the same order.')
    return [_newest(path) for path in expanded]


def trained_checkpoint(work_dir: Path) -> Optional[Path]:
    """Find the best checkpoint of a working directory, or the last one if none was selected.

    Args:
        work_dir (Path): Working directory of ``tools/train.py``.

    Returns:
        Path, optional: The file; None if there is none.
    """
    for pattern in ('best_*.pth', '*.pth'):
        # A name that begins with a dot is a file that was being written when the run was killed.
        files = [file for file in Path(work_dir).glob(pattern) if not file.name.startswith('.')]
        if files:
            return max(files, key=_time)
    return None


def fingerprint(cfg: Config, checkpoint: Path, method: str) -> dict[str, Any]:
    """Fingerprint the inputs of a test result; equal fingerprints mean equal results.

    Args:
        cfg (Config): The config, with the episodes set.
        checkpoint (Path): The checkpoint.
        method (str): One of ``METHODS``.

    Returns:
        dict: Plain values.
    """
    status = checkpoint.stat()
    relevant = {key: cfg.get(key) for key in ('model', 'test_dataloader', 'test_evaluator', 'test_cfg')}
    content = json.dumps(Config(relevant).to_dict(), sort_keys=True, default=str)
    return dict(
        method=method,
        config=hashlib.sha256(content.encode()).hexdigest(),
        checkpoint=str(checkpoint.absolute()),
        checkpoint_size=status.st_size,
        checkpoint_mtime_ns=status.st_mtime_ns)


def load_result(path: Path, expected: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Load a stored result if it has the expected fingerprint."""
    try:
        stored = json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return stored if stored.get('fingerprint') == expected else None


def save_result(path: Path, result: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    """Store a result with its fingerprint, for :func:`load_result`."""
    result = dict(result, fingerprint=key)
    dump_json(result, path)
    return result


def evaluate_methods(cfg: Config, checkpoint: Path, methods: Sequence[str],
                     work_dir: Path) -> Iterator[tuple[str, dict]]:
    """Test a model and its controls on the same episodes.

    Args:
        cfg (Config): The config, with the episodes set; not changed.
        checkpoint (Path): Checkpoint of the model.
        methods (Sequence[str]): Some of ``METHODS``.
        work_dir (Path): Folder of the logs.

    Yields:
        tuple[str, dict]: Each method with its result: ``metrics``, ``episodes`` (metainfo of the dataset),
        ``protocol`` (deviations from the published one), ``seconds`` and ``versions``.
    """
    if set(methods) - {WRONG_SUPPORT}:
        runner = build_runner(cfg, checkpoint, work_dir)
        model = unwrap(runner.model)
        for method in (method for method in methods if method != WRONG_SUPPORT):
            runner.model = CONTROLS[method](model) if method in CONTROLS else model
            model.eval()
            yield method, _test(runner, method)
    if WRONG_SUPPORT in methods:
        cfg = copy.deepcopy(cfg)
        cfg.test_dataloader.dataset = dict(type='WrongSupportDataset', dataset=cfg.test_dataloader.dataset)
        yield WRONG_SUPPORT, _test(build_runner(cfg, checkpoint, work_dir), WRONG_SUPPORT)


def protocol_deviations(dataset: Any) -> list[str]:
    """List why results on these episodes are not comparable with papers; empty if they are.

    Args:
        dataset (EpisodicDataset | WrongSupportDataset): The tested dataset.

    Returns:
        list[str]: Reasons, in words.
    """
    dataset = getattr(dataset, 'dataset', dataset)
    meta, sampler = dataset.metainfo, dataset.sampler
    reasons = []
    if not meta['lists_official']:
        reasons.append(f'the split lists are not the official ones ({meta["lists"]})')
    if type(sampler).__name__ != 'PublishedProtocolSampler':
        reasons.append(f'the episodes are drawn by {type(sampler).__name__}, not by the published protocol')
    else:
        lengths = sampler.published_lengths
        if meta['seed'] != 0 or meta['num_episodes'] not in lengths:
            reasons.append(f'{meta["num_episodes"]} episodes of seed {meta["seed"]} were tested instead of the '
                           f'published {" or ".join(map(str, lengths))} of seed 0')
    if meta['num_ways'] != 1:
        reasons.append(f'the episodes are {meta["num_ways"]}-way, the published ones 1-way')
    return reasons


def build_runner(cfg: Config, checkpoint: Path, work_dir: Path) -> Runner:
    """Build a quiet runner that tests a checkpoint.

    Args:
        cfg (Config): The config, with the episodes set; not changed.
        checkpoint (Path): The checkpoint, which is loaded.
        work_dir (Path): Folder of the logs.

    Returns:
        Runner: Its ``test()`` is ready to be called.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.load_from, cfg.resume = str(work_dir), str(checkpoint), False
    # The figures are what counts here; the config, the environment and every table would be logged once per runner.
    cfg.log_level = 'WARNING'
    add_hook(cfg, dict(type='CheckpointGuardHook', source=str(checkpoint)))
    runner = RUNNERS.build(cfg)
    runner.register_hook(ProgressHook())
    runner.load_or_resume()
    return runner


def _test(runner: Runner, method: str) -> dict[str, Any]:
    dataset = runner.test_dataloader.dataset
    progress, = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
    progress.what = f'testing {method}, {dataset.metainfo["num_shots"]}-shot'
    start = time.perf_counter()
    metrics = runner.test()
    return dict(
        metrics=metrics,
        episodes=dict(dataset.metainfo),
        protocol=protocol_deviations(dataset),
        seconds=round(time.perf_counter() - start, 1),
        versions=versions())


def _newest(pattern: str) -> Path:
    path = Path(pattern)
    if path.is_file():
        return path
    base = Path(path.anchor or '.')
    files = [file for file in base.glob(str(path.relative_to(path.anchor))) if not file.name.startswith('.')]
    if not files:
        raise FileNotFoundError(f'The checkpoint "{pattern}" does not exist.')
    return max(files, key=_time)


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns
