"""Distributed set-up, also on a machine without a GPU."""
import os

import torch
from mmengine.config import Config

from mmfss.utils.config_options import ConfigError, find_class

# What a launcher sets for each process, and how it is called.
_STARTED_BY = dict(pytorch=('RANK', 'torchrun (tools/dist_*.sh)'), slurm=('SLURM_PROCID', 'srun (tools/slurm_*.sh)'),
                   mpi=('OMPI_COMM_WORLD_RANK', 'mpirun'))


def setup_distributed(cfg: Config, launcher: str) -> None:
    """Prepare a config, and on a CPU the process group, for a launcher.

    MMEngine always places a launched process on a GPU. Where there is none, the process group is made here with the
    backend gloo, which MMEngine then uses, and the model is wrapped without a device. A model that names its
    ``distributed_wrapper`` is wrapped by it, on any device; nothing else changes on a GPU.

    Args:
        cfg (Config): The config, changed in place: ``launcher`` and, if it must, ``model_wrapper_cfg``.
        launcher (str): ``'none'``, ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.

    Raises:
        ConfigError: If the process was not started by the launcher.
    """
    cfg.launcher = launcher
    if launcher in _STARTED_BY and _STARTED_BY[launcher][0] not in os.environ:
        variable, starter = _STARTED_BY[launcher]
        raise ConfigError(f'--launcher {launcher} is for processes that {starter} starts; the environment variable '
                          f'{variable} is not set.')
    on_cpu = launcher == 'pytorch' and not torch.cuda.is_available()
    if on_cpu and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    own = getattr(find_class((cfg.get('model') or {}).get('type')), 'distributed_wrapper', None)
    if on_cpu or (own and launcher != 'none'):
        wrapper = dict(type=own or 'MMDistributedDataParallel', broadcast_buffers=False)
        wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
        wrapper.update(cfg.get('model_wrapper_cfg') or {})
        # The None must be written out: the runner fills in the GPU of the process otherwise.
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None) if on_cpu else wrapper


def leave_distributed() -> None:
    """Leave the process group, if there is one, when the work is done.

    A process that just ends takes the threads of the group down with the interpreter; now and then one of them is in
    the middle of a Python call then, and the process aborts although all its work is done. After an error the group is
    better left alone: other processes may be waited for in vain.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def setup_local_rank(local_rank: int) -> None:
    """Set the environment variable ``LOCAL_RANK`` for launchers that pass it as an argument.

    Args:
        local_rank (int): Index of the process on its machine.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
