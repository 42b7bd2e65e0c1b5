"""Pruning, thresholding, reports and the command line tools on a tiny segmentor."""
import json
import subprocess
from pathlib import Path

import pytest
import torch

from mmfss.evaluation.prototypes.group_report import group_report
from mmfss.prototypes.pruning import prune_prototypes
from tests import processes
from tests.references.scaleproto_golden import golden, stage2_head
from tests.test_engine.test_phases import ENVIRONMENT, ROOT
from tests.tiny.seg import TINY_HEAD, TINY_SEGMENTOR, TinySegDataset, build_tiny_segmentor

TOOL_CONFIG = """
custom_imports = dict(imports=['tests.tiny.seg'])
default_scope = 'mmfss'
model = {model}
custom_hooks = [dict(type='PrototypePushHook', dataset=dict(type='TinySegDataset'))]
"""


def test_group_report() -> None:
    head, expected = stage2_head(), golden('stage2')
    head.threshold_groups(0.05)
    report = group_report(head, 0.05, list('abcde'))
    assert report['used_prototypes'] == len(expected['used_prototypes'])
    weights = expected['group_projection_thresholded']
    assert report['prototypes'] == 27 and report['prototypes_per_group'] == pytest.approx((weights > 0).sum() / 12)
    assert len(report['groups']) == 12 and [group['class_name'] for group in report['groups']] == list('aaabbbcccddd')
    first = report['groups'][0]
    assert [p['weight'] for p in first['prototypes']] == sorted((w for w in weights[:7] if w > 0), reverse=True)
    assert first['weight'] == pytest.approx(expected['last_layer_group'][0, 0])
    assert set(report['definitions']) <= set(report)


def test_pruning() -> None:
    model, data = build_tiny_segmentor(), TinySegDataset()
    record = prune_prototypes(model, data)
    head = model.decode_head
    assert len(record['kept']) == head.num_prototypes == 16 - len(record['pruned'])
    ghosts = [p for p in range(16) if p % 8 // 2 == 3]
    assert set(ghosts) <= set(record['pruned'])
    for p in record['kept']:
        labels = record['nearest'][p]['labels']
        assert sum(label == p % 8 // 2 for label in labels) >= 3 and len(labels) == 6
    with pytest.raises(ValueError, match='min_hits must lie in'):
        prune_prototypes(model, data, num_nearest=2)


def run(tool: str, *args: object) -> subprocess.CompletedProcess:
    return processes.run(ROOT / 'tools' / tool, *args, env=ENVIRONMENT, cwd=ROOT)


def test_command_line(tmp_path: Path) -> None:
    """Push, prune and threshold by the tools; what is wrong is said in a line."""
    stage1, stage2 = tmp_path / 'stage1.py', tmp_path / 'stage2.py'
    stage1.write_text(TOOL_CONFIG.format(model=TINY_SEGMENTOR))
    groups = dict(TINY_HEAD, type='ScaleProtoGroupHead', num_groups=2)
    stage2.write_text(TOOL_CONFIG.format(model=dict(TINY_SEGMENTOR, decode_head=groups)))
    torch.save(dict(state_dict=build_tiny_segmentor().state_dict()), tmp_path / 'trained.pth')
    common = ['--work-dir', tmp_path / 'work']

    done = run('push_prototypes.py', stage1, tmp_path / 'trained.pth', '--out', tmp_path / 'out', *common)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / 'out/prototypes.json').read_text())
    assert record['absent_classes'] == ['ghost'] and 'ghost' in done.stdout

    done = run('prune_prototypes.py', stage1, tmp_path / 'out/pushed.pth', tmp_path / 'pruned.pth', *common)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / 'pruned.json').read_text())['nearest']) == len(record['prototypes'])

    model = build_tiny_segmentor(decode_head=groups)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'groups.pth')
    done = run('threshold_groups.py', stage2, tmp_path / 'groups.pth', tmp_path / 'th.pth', '--threshold', 0.2, *common)
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / 'th.pth')['state_dict']['decode_head.groups']
    expected = model.decode_head.groups.detach()
    assert weights.equal(expected.masked_fill(expected < 0.2, 0))

    for wrong, message in ((tmp_path, 'is a folder: name a file in it'),
                           (tmp_path / 'x.json', 'where the report goes')):
        done = run('threshold_groups.py', stage2, tmp_path / 'groups.pth', wrong, *common)
        assert done.returncode == 1 and message in done.stderr and not (tmp_path / 'x.json').exists()

    done = run('threshold_groups.py', stage1, tmp_path / 'trained.pth', tmp_path / 'th.pth', *common)
    assert done.returncode == 1 and 'not a ScaleProtoGroupHead' in done.stderr and 'Traceback' not in done.stderr
