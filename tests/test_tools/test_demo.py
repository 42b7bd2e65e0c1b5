"""The first command, small: everything it promises is there, progress too, and a second call continues."""
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = f"""
_base_ = '{ROOT}/configs/dcama/resnet18_shapes_fold0.py'
shapes = dict(num_train=160, num_val=80, side=64)
few = dict(small_classes='skip')  # so few pictures do not show every class twice
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root='data', index=shapes, sampler=few))
val_dataloader = dict(num_workers=0, persistent_workers=False,
                      dataset=dict(data_root='data', index=shapes, sampler=few))
test_dataloader = dict(num_workers=0, persistent_workers=False,
                       dataset=dict(data_root='data', index=shapes, sampler=few))
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=2, by_epoch=False)]
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, about to run in a folder with a small config."""
    spec = importlib.util.spec_from_file_location('demo_tool', ROOT / 'tools' / 'demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / 'small.py').write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['demo.py', '--config', 'small.py', '--work-dir', 'out', '--episodes', '2',
                                      '--pictures', '2', '--explained', '1'])
    return module


@pytest.mark.filterwarnings('ignore')
def test_whole_and_continued(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capfd: pytest.CaptureFixture) -> None:
    demo.main()
    printed, progress = capfd.readouterr()
    for phase in ('drawing: 240 of 240 images', 'training: 2 of 2 iterations', 'testing model, 1-shot',
                  'testing copied mask, 1-shot', 'testing untrained prototype, 5-shot',
                  'testing wrong-class support, 5-shot', 'testing: 1 of 1 batches', 'explaining: 1 of 1 episodes'):
        assert phase in progress
    # A single validation at the end would have nothing to choose from.
    assert 'validation' not in progress
    out = tmp_path / 'out'
    assert len(list((out / 'pictures').glob('*.png'))) == 2
    assert (out / 'explanations' / 'index.html').is_file()
    assert (out / 'cross_validation.md').read_text() in printed
    assert 'Iter(test)' not in printed.partition('tools/test.py')[2]
    assert 'Iter(test)' in (out / 'drawing' / 'log.txt').read_text()
    checkpoint, = (out / 'small').glob('iter_*.pth')
    made = checkpoint.stat().st_mtime_ns

    # Pictures and explanations are made anew, as before.
    run = demo.run
    monkeypatch.setattr(demo, 'run', lambda tool, *args, **options: tool in ('test.py', 'explain.py') or run(
        tool, *args, **options))
    demo.main()
    printed, progress = capfd.readouterr()
    assert 'tools/train.py' not in printed and 'training' not in progress and 'testing model' not in progress
    assert printed.count('(kept)') == 8 and checkpoint.stat().st_mtime_ns == made


def test_a_failure_ends_with_its_message(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, 'argv', ['demo.py', '--config', 'nowhere.py'])
    with pytest.raises(SystemExit) as end:
        demo.main()
    assert end.value.code == 1
    assert 'nowhere.py" does not exist' in capfd.readouterr().err

    arguments = list(sys.argv)
    with pytest.raises(SystemExit, match='test.py failed, see .*log.txt'):
        demo.run('test.py', 'small.py', 'nowhere.pth', log=tmp_path / 'log.txt')
    assert sys.argv == arguments and 'nowhere.pth' in capfd.readouterr().err
