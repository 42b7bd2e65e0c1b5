"""Metrics of prototypes through the runner."""
import json
from pathlib import Path
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import PixelData

from mmfss.registry import DATASETS
from tests.tiny.seg import TINY_HEAD, TINY_SEGMENTOR, TinySegDataset, build_tiny_segmentor

GROUPS = dict(TINY_HEAD, type='ScaleProtoGroupHead', num_groups=2, regularizers=[])


@DATASETS.register_module(force=True)
class TinyPartsDataset(TinySegDataset):
    """The left and the right half of everything are its parts; the last picture has no parts."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        if index < self.size - 1:
            parts = torch.ones(1, self.side, self.side, dtype=torch.uint8)
            parts[..., self.side // 2:] = 2
            item['data_samples'].gt_part_seg = PixelData(data=parts)
        return item


def evaluate(tmp_path: Path, name: str, evaluators: list[dict], head: dict, batch_size: int = 2) -> dict[str, float]:
    torch.save(dict(state_dict=build_tiny_segmentor(decode_head=head).state_dict()), tmp_path / 'model.pth')
    runner = Runner.from_cfg(Config(dict(
        default_scope='mmfss', work_dir=str(tmp_path), experiment_name=f'prototypes_{name}',
        model=dict(TINY_SEGMENTOR, decode_head=head), load_from=str(tmp_path / 'model.pth'), log_level='ERROR',
        test_dataloader=dict(batch_size=batch_size, num_workers=0, dataset=dict(type='TinyPartsDataset'),
                             sampler=dict(type='DefaultSampler', shuffle=False)),
        test_evaluator=evaluators, test_cfg=dict(type='PrototypeTestLoop'))))
    return runner.test()


PARTS = [dict(type='PrototypeConsistency', max_parts=2), dict(type='PrototypeStability', max_parts=2)]


def test_stage_1(tmp_path: Path) -> None:
    metrics = PARTS + [dict(type='PrototypeOverlap')]
    scores = evaluate(tmp_path, 'one', metrics, TINY_HEAD)
    assert 0 <= scores['prototypes/consistency'] <= 1 and 0 <= scores['prototypes/stability'] <= 1
    assert scores['prototypes/prototypes_with_parts'] == 12  # Nobody has seen a ghost.
    assert 0 <= scores['prototypes/prototype_overlap'] <= 1
    again = evaluate(tmp_path, 'one_by_one', metrics, TINY_HEAD, batch_size=1)
    assert again == pytest.approx(scores, abs=0.05)


def test_stage_2(tmp_path: Path) -> None:
    report = tmp_path / 'report.json'
    scores = evaluate(tmp_path, 'two', [*PARTS, dict(type='GroupOverlap'), dict(type='GroupSparsity',
                                                                               out_file=str(report))], GROUPS)
    assert 0 <= scores['prototypes/group_overlap'] <= 1 and 0 <= scores['prototypes/consistency'] <= 1
    groups = json.loads(report.read_text())['groups']
    sizes = [len(group['prototypes']) for group in groups]
    assert len(sizes) == 8 and scores['prototypes/prototypes_per_group'] == pytest.approx(sum(sizes) / 8)
    assert 0 < scores['prototypes/used_prototypes'] <= 16 and 0 < scores['prototypes/entropy'] <= 1


def test_unused_prototypes_do_not_count(tmp_path: Path) -> None:
    head = build_tiny_segmentor(decode_head=GROUPS).decode_head
    assert build_tiny_segmentor().decode_head.used_prototypes.all()
    head.groups.data.zero_()
    head.groups.data[1, 0, 2] = 1
    assert head.used_prototypes.nonzero().flatten().tolist() == [int(head.group_members[1, 2])]


def test_groups_are_needed(tmp_path: Path) -> None:
    for place, metric in enumerate(('GroupOverlap', 'GroupSparsity')):
        with pytest.raises(ValueError, match=f'{metric} needs a model with groups'):
            evaluate(tmp_path, f'none{place}', [dict(type=metric)], TINY_HEAD)
