"""A small run that takes the predictions of a tiny prototype model apart."""
from pathlib import Path
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.prototypes import PrototypePush
from tests.tiny.seg import TINY_HEAD, TINY_SEGMENTOR, TinySegDataset, build_tiny_segmentor

GROUPS = dict(TINY_HEAD, type='ScaleProtoGroupHead', num_groups=2, regularizers=[])


def write_models(root: Path) -> None:
    """Write ``pushed.pth`` with its ``prototypes.json``, ``groups.pth`` on top of it, and a config of each."""
    model = build_tiny_segmentor()
    PrototypePush(TinySegDataset()).run(model, root)
    grouped = build_tiny_segmentor(decode_head=GROUPS)
    grouped.decode_head.follow_state_dict(model.decode_head.state_dict())
    grouped.load_state_dict(model.state_dict(), strict=False)
    torch.save(dict(state_dict=grouped.state_dict()), root / 'groups.pth')
    for name, head in dict(pushed=TINY_HEAD, groups=GROUPS).items():
        Config(dict(
            default_scope='mmfss',
            custom_imports=dict(imports=['mmfss', 'tests.tiny.seg'], allow_failed_imports=False),
            model=dict(TINY_SEGMENTOR, decode_head=head),
            work_dir=str(root / 'work'),
            log_level='WARNING',
            test_dataloader=dict(batch_size=3, num_workers=0, dataset=dict(type='TinySegDataset'),
                                 sampler=dict(type='DefaultSampler', shuffle=False)),
            test_cfg=dict(type='TestLoop'),
            test_evaluator=dict(type='mmseg.IoUMetric'))).dump(root / f'{name}.py')


def explain(root: Path, name: str, out: Path, data: dict[str, Any] | None = None, **changes: Any) -> Runner:
    """Run it; ``changes`` are arguments of the loop, ``data`` of the dataset."""
    cfg = Config.fromfile(root / f'{name}.py')
    cfg.pop('test_cfg')
    cfg.test_cfg = {**dict(type='PrototypeExplanationLoop', out_dir=str(out), panels=0, num_images=2), **changes}
    cfg.test_evaluator = []
    cfg.test_dataloader.dataset.update(data or {})
    cfg.load_from = str(root / f'{name}.pth')
    # MMEngine keeps one logger, with its stream, for each name.
    cfg.experiment_name = f'{name}-{out.name}-{id(cfg)}'
    runner = RUNNERS.build(cfg)
    runner.test()
    return runner
