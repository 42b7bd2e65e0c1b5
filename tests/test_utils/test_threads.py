"""Threads of the commands: set before PyTorch is loaded, unless the user or a launcher has."""
import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pytest

from mmfss.utils.threads import LAUNCHED, WAITING, granted_cores, set_up_threads

ROOT = Path(__file__).parents[2]
COMMANDS = [path for folder in ('tools', 'demo') for path in sorted((ROOT / folder).rglob('*.py'))
            if "__name__ == '__main__'" in path.read_text(encoding='utf-8')]
NAMES = (*WAITING, *LAUNCHED, 'OMP_NUM_THREADS')


def run(code: str, cores: Optional[set[int]] = None, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, on some cores."""
    clean = {key: value for key, value in os.environ.items() if key not in NAMES}
    pin = f'import os; os.sched_setaffinity(0, {cores}); ' if cores else ''
    return subprocess.run([sys.executable, '-c', pin + code], env=dict(clean, PYTHONPATH=str(ROOT), **environment),
                          capture_output=True, text=True, check=True)


def child(code: str, cores: Optional[set[int]] = None, **environment: str) -> Any:
    """What code prints as JSON."""
    return json.loads(run(code, cores, **environment).stdout)


ENVIRONMENT = 'import mmfss.commands, json, os; print(json.dumps(dict(os.environ)))'


class TestCommands:

    @pytest.mark.parametrize('path', COMMANDS, ids=lambda path: path.relative_to(ROOT).as_posix())
    def test_every_command_begins_with_it(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        # Nothing but the docstring and sys stands before it, also no import within another statement.
        body = tree.body[ast.get_docstring(tree) is not None:]
        first = next(node for node in body if ast.unparse(node) != 'import sys')
        assert isinstance(first, (ast.Import, ast.ImportFrom))
        names = [first.module] if isinstance(first, ast.ImportFrom) else [name.name for name in first.names]
        assert [name.split('.')[:2] for name in names] == [['mmfss', 'commands']]

    def test_there_are_commands(self) -> None:
        assert {'train.py', 'test.py', 'demo.py', 'image_demo.py', 'benchmark.py', 'make_shapes.py',
                'dcama2mmfss.py'} <= {path.name for path in COMMANDS}

    def test_openmp_obeys(self) -> None:
        """What it says itself when PyTorch is loaded."""
        code = ('import mmfss.commands, os, torch; '
                'assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])')
        settings = run(code, {min(os.sched_getaffinity(0))}, OMP_DISPLAY_ENV='TRUE').stderr
        assert re.search(r"OMP_NUM_THREADS ?= ?'1'", settings)
        assert re.search(r"OMP_WAIT_POLICY ?= ?'PASSIVE'", settings)


class TestEnvironment:

    def test_set_before_pytorch(self) -> None:
        found = child(ENVIRONMENT)
        assert found['OMP_WAIT_POLICY'] == 'passive'
        assert found['OMP_NUM_THREADS'] == str(granted_cores())

    def test_imports_nothing_heavy(self) -> None:
        loaded = child('import mmfss.commands, json, sys; print(json.dumps(list(sys.modules)))')
        assert not {'numpy', 'torch', 'mmengine', 'mmcv', 'mmseg', 'joblib'} & set(loaded)

    @pytest.mark.parametrize('name, value', [('OMP_WAIT_POLICY', 'active'), ('GOMP_SPINCOUNT', '100'),
                                             ('KMP_BLOCKTIME', '200')])
    def test_the_users_waiting_stays(self, name: str, value: str) -> None:
        found = child(ENVIRONMENT, **{name: value})
        assert {key: found[key] for key in WAITING if key in found} == {name: value}

    def test_the_users_threads_stay(self) -> None:
        found = child(ENVIRONMENT, OMP_NUM_THREADS='7')
        assert found['OMP_NUM_THREADS'] == '7' and found['OMP_WAIT_POLICY'] == 'passive'

    @pytest.mark.parametrize('name', LAUNCHED)
    def test_launched_processes_share_the_cores(self, name: str) -> None:
        """MMEngine gives each one thread, and leaves what the launcher has set."""
        found = child(ENVIRONMENT, **{name: '0'})
        assert 'OMP_NUM_THREADS' not in found and found['OMP_WAIT_POLICY'] == 'passive'
        assert child(ENVIRONMENT, **{name: '0', 'OMP_NUM_THREADS': '3'})['OMP_NUM_THREADS'] == '3'

    def test_torchrun(self, tmp_path: Path) -> None:
        script = tmp_path / 'show.py'
        script.write_text('import mmfss.commands, os\n'
                          'with open("seen" + os.environ["RANK"], "w") as file:\n'
                          '    file.write(os.environ["OMP_NUM_THREADS"] + os.environ["OMP_WAIT_POLICY"])')
        clean = {key: value for key, value in os.environ.items() if key not in NAMES}
        subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
                        str(script)], cwd=tmp_path, env=dict(clean, PYTHONPATH=str(ROOT)), check=True,
                       capture_output=True)
        assert [(tmp_path / f'seen{rank}').read_text() for rank in (0, 1)] == ['1passive'] * 2

    def test_a_program_with_pytorch_keeps_its_environment(self) -> None:
        assert 'torch' in sys.modules or __import__('torch')
        environment: dict[str, str] = {}
        set_up_threads(environment)
        assert environment == {}

    def test_child_processes_inherit(self) -> None:
        code = ('import mmfss.commands, subprocess, sys; '
                'subprocess.run([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"])')
        assert child(code)['OMP_WAIT_POLICY'] == 'passive'


class TestDenormals:
    SHARE = '(torch.full((2_000_000,), 1e-38) * 0.01 != 0).float().mean().item()'

    def test_commands_flush_them_in_all_threads(self, tmp_path: Path) -> None:
        """Before PyTorch has started its threads, which keep what they were started with."""
        config = ROOT / 'configs/scaleprotoseg/resnet18_shapes_stage1.py'
        code = ('import mmfss.commands, argparse, json, torch; from mmfss.engine.runner_setup import prepare_config; '
                'torch.set_num_threads(2); '
                f'prepare_config(argparse.Namespace(config={str(config)!r}, work_dir={str(tmp_path)!r}, '
                'cfg_options=None, launcher="none", local_rank=0, unsafe_load=False)); '
                f'print(json.dumps({self.SHARE}))')
        assert child(code) == 0

    def test_a_program_keeps_them(self) -> None:
        assert child(f'import mmfss, json, torch; print(json.dumps({self.SHARE}))') == 1


class TestCores:

    def test_affinity(self) -> None:
        cores = os.sched_getaffinity(0)
        code = 'import mmfss.commands, json, os; print(json.dumps(os.environ["OMP_NUM_THREADS"]))'
        assert child(code, {min(cores)}) == '1'
        assert int(child(code, cores)) <= len(cores)

    @pytest.mark.parametrize('group', ['', 'user.slice/job'])
    @pytest.mark.parametrize('limit, cores', [('max 100000', 8), ('100000 100000', 1), ('150000 100000', 2),
                                              ('20000 100000', 1), ('6400000 100000', 8)])
    def test_quota(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, limit: str, cores: int) -> None:
        """Control groups of version 2: of the process's group, or of the container."""
        write(tmp_path / 'proc/self/cgroup', f'0::/{group}\n')
        write(tmp_path / 'sys/fs/cgroup' / group / 'cpu.max', limit + '\n')
        assert cores_of(tmp_path, monkeypatch) == cores

    @pytest.mark.parametrize('group, folder', [('', ''), ('job', 'job'), ('docker/4f2a', '')])
    @pytest.mark.parametrize('quota, cores', [(-1, 8), (300000, 3), (250000, 3)])
    def test_quota_of_version_1(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, folder: str,
                                quota: int, cores: int) -> None:
        write(tmp_path / 'proc/self/cgroup', f'4:memory:/{group}\n2:cpu,cpuacct:/{group}\n1:name=systemd:/\n0::/\n')
        write(tmp_path / 'sys/fs/cgroup/cpu' / folder / 'cpu.cfs_quota_us', f'{quota}\n')
        write(tmp_path / 'sys/fs/cgroup/cpu' / folder / 'cpu.cfs_period_us', '100000\n')
        assert cores_of(tmp_path, monkeypatch) == cores

    def test_smallest_of_nested_quotas(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / 'proc/self/cgroup', '0::/outer/inner\n')
        for folder, limit in (('outer/inner', 'max 100000'), ('outer', '200000 100000'), ('', '400000 100000')):
            write(tmp_path / 'sys/fs/cgroup' / folder / 'cpu.max', limit)
        assert cores_of(tmp_path, monkeypatch) == 2

    @pytest.mark.parametrize('content', [None, '', 'nonsense'])
    def test_without_control_groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    content: Optional[str]) -> None:
        if content is not None:
            write(tmp_path / 'proc/self/cgroup', '0::/\n')
            write(tmp_path / 'sys/fs/cgroup/cpu.max', content)
        assert cores_of(tmp_path, monkeypatch) == 8

    def test_without_affinity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, 'sched_getaffinity')
        monkeypatch.setattr(os, 'cpu_count', lambda: 5)
        assert granted_cores(tmp_path) == 5

    def test_agrees_with_joblib_here(self) -> None:
        joblib = pytest.importorskip('joblib')
        assert 'LOKY_MAX_CPU_COUNT' in os.environ or granted_cores() <= joblib.cpu_count()

    def test_load_does_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, 'getloadavg', lambda: pytest.fail('the load was asked for'))
        assert granted_cores() >= 1


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def cores_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Cores of a machine of eight whose /proc and /sys are below the root."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: set(range(8)))
    return granted_cores(root)
