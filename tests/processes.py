"""Processes that start at once.

They are forked from a server that has imported the package (see ``conftest.py``), which takes a new interpreter
seconds each time. A script
runs in them as ``python SCRIPT ARGUMENTS`` would run it, with its own arguments, folder, environment and streams.
"""
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Mapping, Optional, Sequence

import torch

from mmfss.registry import register_all_modules
from tests.quick_runners import make_runners_quick

register_all_modules(init_default_scope=False)
_CONTEXT = multiprocessing.get_context('forkserver')


def _run(command: list[str], folder: Optional[str], environment: dict[str, str], out: str, err: str) -> None:
    os.setsid()
    for path, stream in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(stream), 'w', buffering=1) for stream in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get('OMP_NUM_THREADS', torch.get_num_threads())))
    if folder:
        os.chdir(folder)
    make_runners_quick()
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name='__main__')


def start(command: Sequence[object], cwd: Optional[Path] = None, env: Optional[Mapping[str, str]] = None,
          out: str = os.devnull, err: str = os.devnull) -> BaseProcess:
    """Start a Python script in a process, and a process group, of its own.

    Args:
        command (Sequence): The script and its arguments.
        cwd (Path, optional): The folder it runs in.
        env (Mapping, optional): Its environment, in place of that of this process.
        out (str): File that its output is added to.
        err (str): File that its errors are added to.
    """
    environment = dict(os.environ if env is None else env)
    process = _CONTEXT.Process(target=_run, args=(list(map(str, command)), cwd and str(cwd), environment, out, err))
    process.start()
    return process


def run(*command: object, cwd: Optional[Path] = None, env: Optional[Mapping[str, str]] = None,
        distributed: int = 0) -> subprocess.CompletedProcess:
    """Run a Python script, as ``subprocess.run`` would with its output captured as text.

    Args:
        command (object): The script and its arguments.
        cwd (Path, optional): The folder it runs in.
        env (Mapping, optional): Its environment, in place of that of this process.
        distributed (int): Run it in so many processes, with the environment variables that ``torchrun`` sets.

    Returns:
        subprocess.CompletedProcess: With the exit status (-9: killed), of several processes the first that is not 0.
    """
    environments = [dict(os.environ if env is None else env) for _ in range(max(distributed, 1))]
    if distributed:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            shared = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free.getsockname()[1]), WORLD_SIZE=str(distributed),
                          LOCAL_WORLD_SIZE=str(distributed))
        for rank, environment in enumerate(environments):
            environment.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ('out', 'err')]
        for path in streams:
            Path(path).touch()
        processes = [start(command, cwd, environment, *streams) for environment in environments]
        running, code = list(processes), 0
        while running and not code:
            if not wait([process.sentinel for process in running], timeout=300):
                code = -1
            running = [process for process in running if process.is_alive()]
            code = next((process.exitcode for process in processes if process.exitcode), code)
        for process in processes:
            process.kill()  # those that wait for one that broke down
            process.join()
        return subprocess.CompletedProcess(command, code, *(Path(path).read_text() for path in streams))
