"""Cutting the backbone out of a checkpoint."""
import subprocess
from pathlib import Path

import torch

from tests import processes

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'publish_backbone.py'


def publish(tmp_path: Path, checkpoint: dict) -> subprocess.CompletedProcess:
    torch.save(checkpoint, tmp_path / 'in.pth')
    return processes.run(TOOL, tmp_path / 'in.pth', tmp_path / 'out.pth')


def test_keeps_the_backbone_in_half_precision(tmp_path: Path) -> None:
    weights = {'backbone.conv.weight': torch.randn(2, 3), 'backbone.bn.num_batches_tracked': torch.tensor(7),
               'head.weight': torch.randn(2)}
    assert publish(tmp_path, dict(state_dict=weights, optimizer={})).returncode == 0
    published = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    assert published.keys() == {'backbone.conv.weight', 'backbone.bn.num_batches_tracked'}
    assert torch.equal(published['backbone.conv.weight'], weights['backbone.conv.weight'].half())
    assert published['backbone.bn.num_batches_tracked'] == 7


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / 'out.pth').mkdir()
    done = publish(tmp_path, dict(state_dict={'backbone.weight': torch.ones(1)}))
    assert done.returncode == 1 and 'out.pth" is a folder: name a file in it' in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


def test_checkpoint_without_backbone(tmp_path: Path) -> None:
    done = publish(tmp_path, dict(state_dict={'head.weight': torch.randn(2)}))
    assert done.returncode == 1 and 'in.pth' in done.stderr and not (tmp_path / 'out.pth').exists()
