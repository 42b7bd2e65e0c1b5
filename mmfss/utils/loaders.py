"""Workers of data loaders, by one rule for all configs."""
import os
import sys
from typing import Any, Mapping

from .threads import granted_cores

MOST_WORKERS = 6
"""Six workers make some 250 episodes a second at 384 x 384 pixels, more than a GPU trains on."""
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def default_workers(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of workers of a data loader: 6, or the cores of this process if those are fewer.

    Processes that a launcher started on one machine share its cores.
    """
    local = next((int(environment[name]) for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE')
                  if environment.get(name, '').isdecimal()), 1)
    return max(1, min(MOST_WORKERS, granted_cores() // max(1, local)))


def fill_loaders(cfg: Any) -> None:
    """Set what the data loaders of a config leave open: the number of workers, which persist, and pinned memory.

    The number of workers changes no result: an item depends on the data, the seed and its index alone.

    Args:
        cfg (Config): The config, changed in place.
    """
    # Not imported for this: what builds no loader need not wait for it.
    torch = sys.modules.get('torch')
    has_gpu = torch is not None and torch.cuda.is_available()
    for name in LOADERS:
        loader = cfg.get(name)
        if not isinstance(loader, dict) or 'dataset' not in loader:
            continue
        loader.setdefault('num_workers', default_workers())
        if loader['num_workers'] == 0:
            loader['persistent_workers'] = False
        loader.setdefault('persistent_workers', True)
        if has_gpu:
            loader.setdefault('pin_memory', True)
