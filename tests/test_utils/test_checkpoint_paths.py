import os
from pathlib import Path

import pytest

from mmfss.utils.checkpoint_paths import expand_braces, expand_checkpoints, trained_checkpoint
from mmfss.utils.config_options import ConfigError


class TestExpandBraces:

    @pytest.mark.parametrize('pattern, expected', [
        ('a/fold0.py', ['a/fold0.py']),
        ('fold{0..3}.py', ['fold0.py', 'fold1.py', 'fold2.py', 'fold3.py']),
        ('fold{2..1}', ['fold2', 'fold1']),
        ('{a,b}_{0..1}', ['a_0', 'a_1', 'b_0', 'b_1']),
        ('{a}', ['{a}']),
    ])
    def test_like_a_shell(self, pattern: str, expected: list[str]) -> None:
        assert expand_braces(pattern) == expected


class TestCheckpoints:

    def test_expand(self, tmp_path: Path) -> None:
        for fold in (0, 1):
            for age, name in enumerate(('best_old.pth', 'best_new.pth', 'iter_9.pth')):
                file = tmp_path / f'fold{fold}' / name
                file.parent.mkdir(exist_ok=True)
                file.touch()
                os.utime(file, (age, age))
        found = expand_checkpoints([f'{tmp_path}/fold{{0..1}}/best_*.pth'], 2)
        assert found == [tmp_path / 'fold0' / 'best_new.pth', tmp_path / 'fold1' / 'best_new.pth']
        with pytest.raises(ConfigError, match='names 2 checkpoints .* for 3 configs'):
            expand_checkpoints([f'{tmp_path}/fold{{0..1}}/best_*.pth'], 3)
        with pytest.raises(FileNotFoundError, match='fold7'):
            expand_checkpoints([f'{tmp_path}/fold7/*.pth'], 1)

    def test_trained(self, tmp_path: Path) -> None:
        assert trained_checkpoint(tmp_path / 'nowhere') is None
        for age, name in enumerate(('iter_5.pth', 'iter_9.pth', '.iter_10.part.pth')):
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (age, age))
        assert trained_checkpoint(tmp_path).name == 'iter_9.pth'
        (tmp_path / 'best_mIoU_iter_5.pth').touch()
        os.utime(tmp_path / 'best_mIoU_iter_5.pth', (0, 0))
        assert trained_checkpoint(tmp_path).name == 'best_mIoU_iter_5.pth'
