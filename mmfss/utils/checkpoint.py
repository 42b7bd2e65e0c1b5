"""Safe reading of checkpoints: without running their code, and with errors that name the fault.

Since PyTorch 2.6 ``torch.load`` unpickles tensors and plain containers only. A checkpoint written by MMEngine also
holds its log buffers and NumPy numbers. The loaders below allow exactly those and take the place of MMEngine's own, so
that ``Runner``, ``init_model`` and ``init_cfg=dict(type='Pretrained', ...)`` all read files this way.
"""
import os
import pickle
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Union

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, find_latest_checkpoint, get_torchvision_models
from torch import Tensor, nn

from .download import fetch_checkpoint
from .errors import CheckpointError
from .files import moved_into

UNSAFE_LOAD = 'MMFSS_UNSAFE_LOAD'

_DTYPES = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', '?')
_SIGNATURES = (
    (b'', 'an empty file'),
    (b'version https://git-lfs', 'a Git LFS pointer instead of the file it stands for'),
    (b'\x89PNG', 'a PNG image'),
    (b'\xff\xd8\xff', 'a JPEG image'),
    (b'%PDF', 'a PDF document'),
    (b'\x1f\x8b', 'a gzip archive'),
    (b'PK\x03\x04', 'a zip archive that is not a PyTorch file, or is cut short'),
)


# Buffers that a network computes from its config: tables and masks of windows, fixed position codes, rotations.
# Counters of batches have no part in any result.
_COMPUTED = re.compile(r'(^|\.)(relative_position_index|relative_coords_table|attention_bias_idxs|attn_mask|pos_embed|'
                       r'freqs_cos|freqs_sin|num_batches_tracked)$')


def _statistics_method(owner: Any, name: str) -> Callable:
    # HistoryBuffer pickles its methods as getattr(HistoryBuffer, name); nothing else may be looked up.
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise TypeError(f'A checkpoint may not look up the attribute "{name}" of {owner}.')


def _safe_globals() -> List[Any]:
    multiarray = np.zeros(1).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    allowed: List[Any] = [HistoryBuffer, np.ndarray, np.dtype, (_statistics_method, 'builtins.getattr')]
    allowed += [type(np.dtype(name)) for name in _DTYPES]
    # NumPy 1 wrote the second module name, NumPy 2 writes the first.
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):
        allowed += [(multiarray, f'{module}._reconstruct'), (scalar, f'{module}.scalar')]
    return allowed


def unsafe_load_allowed() -> bool:
    """bool: Whether the user set ``MMFSS_UNSAFE_LOAD=1`` (the tools' ``--unsafe-load``)."""
    return os.environ.get(UNSAFE_LOAD, '') not in ('', '0')


@contextmanager
def _allowing_checkpoints() -> Iterator[Dict[str, bool]]:
    # A context, not a process-wide list: another library's context would drop overlapping entries on exit.
    with torch.serialization.safe_globals(_safe_globals()):
        yield dict(weights_only=not unsafe_load_allowed())


def load_from_local(filename: Union[str, Path], map_location: Any = None) -> Dict[str, Any]:
    """Read a checkpoint file; MMEngine's loader of local paths is replaced by this one.

    Args:
        filename (str | Path): The file, ``~`` allowed.
        map_location (Any): As in :func:`torch.load`.

    Returns:
        dict: The checkpoint: a state dict, or a dict that holds one under ``'state_dict'``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is something else, or asks for objects that are not allowed. Setting the
            environment variable ``MMFSS_UNSAFE_LOAD=1`` allows everything: only for files you trust.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        found = 'is a folder' if path.is_dir() else 'does not exist'
        raise FileNotFoundError(f'The checkpoint "{filename}" {found} (looked for {path.absolute()}).')
    try:
        with _allowing_checkpoints() as options:
            checkpoint = torch.load(path, map_location=map_location, **options)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError, KeyError,
            ImportError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(_describe_failure(path, error)) from error
    return _check_content(checkpoint, path)


def _describe_failure(path: Path, error: Exception) -> str:
    message = str(error)
    refused = re.search(r'GLOBAL ([\w.]+)|[Tt]rying to call ([\w.]+)|look up the attribute "([\w.]+)"', message)
    if refused:
        name = next(group for group in refused.groups() if group)
        return (f'The checkpoint "{path}" asks for "{name}", which is more than weights and training state, and was '
                'not loaded: such a file can run any code. If you trust it, '
                f'set {UNSAFE_LOAD}=1 or pass --unsafe-load.')
    if isinstance(error, RuntimeError) and 'out of memory' in message:
        return f'The checkpoint "{path}" does not fit into memory: {message}'
    return f'The file "{path}" is not a checkpoint: it is {_what_it_is(path)} ({_reason(error)}).'


def _reason(error: Exception) -> str:
    # PyTorch puts a general paragraph on safe loading before the reason.
    paragraphs = [line for line in str(error).splitlines() if line.strip() and 'Weights only load failed' not in line]
    return f'{type(error).__name__}: {paragraphs[0][:160]}' if paragraphs else type(error).__name__


def _what_it_is(path: Path) -> str:
    with open(path, 'rb') as file:
        head = file.read(512)
    for signature, name in _SIGNATURES:
        if head == signature or (signature and head.startswith(signature)):
            return name
    if re.match(rb'\s*<(!doctype|html|\?xml)', head, re.IGNORECASE):
        return 'a web page (a download that failed?)'
    try:
        first = head.decode('utf-8').splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        return f'{path.stat().st_size} bytes of another or a damaged format'
    return f'a text file that begins "{first[:40]}"'


def _check_content(checkpoint: Any, path: Path) -> Dict[str, Any]:
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'The file "{path}" is not a checkpoint: it holds a {type(checkpoint).__name__}, '
                              'not a dict of weights.')
    if not any(isinstance(value, (Tensor, Mapping)) for value in checkpoint.values()):
        raise CheckpointError(f'The file "{path}" is not a checkpoint: it holds a dict without weights '
                              f'(keys: {_shorten([str(key) for key in checkpoint])}).')
    return checkpoint


def load_from_http(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Download a checkpoint, once per machine, and read it as :func:`load_from_local` does.

    Args:
        filename (str): An ``http://`` or ``https://`` address.
        map_location (Any): As in :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        DownloadError: If it cannot be downloaded, or is not the published file; see
            :func:`mmfss.utils.download.fetch_checkpoint`.
    """
    return load_from_local(fetch_checkpoint(filename), map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Download the weights of a torchvision model, e.g. ``torchvision://resnet50``.

    Args:
        filename (str): ``torchvision://`` or ``modelzoo://`` and the name of the weights.
        map_location (Any): As in :func:`torch.load`.

    Returns:
        dict: The state dict.
    """
    name = filename.split('://', 1)[1]
    urls = get_torchvision_models()
    if name not in urls:
        raise CheckpointError(f'torchvision has no weights named "{name}" (in "{filename}").')
    return load_from_http(urls[name], map_location)


def register_checkpoint_loaders() -> None:
    """Put the loaders of this module in place of MMEngine's for local paths, HTTP and torchvision."""
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), loader=load_from_http, force=True)
    schemes = ('modelzoo://', 'torchvision://')
    CheckpointLoader.register_scheme(prefixes=schemes, loader=load_from_torchvision, force=True)


def find_last_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """Find the checkpoint to resume in a working directory, also if the directory was moved or copied.

    Args:
        work_dir (str | Path): The directory.

    Returns:
        str, optional: The last checkpoint; None if there is none.
    """
    noted = find_latest_checkpoint(str(work_dir))
    return None if noted is None else str(moved_into(work_dir, noted))


def forget_last_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """Forget the checkpoint to resume, since a new run begins that must not be mistaken for the former one.

    Args:
        work_dir (str | Path): The working directory. Its checkpoints stay, until the new run overwrites them.

    Returns:
        str, optional: The last checkpoint of the former run; None if there was none.
    """
    note = Path(work_dir) / 'last_checkpoint'
    if not note.is_file():
        return None
    former = find_last_checkpoint(work_dir)
    note.unlink()
    return former


def get_state_dict(checkpoint: Mapping[str, Any]) -> Dict[str, Tensor]:
    """Extract the weights of a checkpoint, without the prefix ``module.`` of data-parallel training.

    Args:
        checkpoint (Mapping): What a loader returned.

    Returns:
        dict: Parameter and buffer names to tensors.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', name): value for name, value in state_dict.items()}


def follow_sizes(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Let modules whose sizes depend on the checkpoint (prototypes) adopt them before loading.

    Args:
        model (nn.Module): Its modules that have a method ``follow_state_dict(state_dict, prefix)`` are asked.
        state_dict (Mapping): Names to tensors.
    """
    for name, module in model.named_modules():
        if hasattr(module, 'follow_state_dict'):
            module.follow_state_dict(state_dict, f'{name}.' if name else '')


def computed_buffers(model: nn.Module) -> Set[str]:
    """List the buffers that a model computes from its config, so that a file need not hold them.

    These are the known ones of the zoo's backbones, all tables of integers, which no training changes, and what is
    registered with ``persistent=False``. Running statistics, and whatever else training changes, are not among them.

    Args:
        model (nn.Module): The model as built from its config.

    Returns:
        set[str]: Names of buffers, as in a state dict.

    Example:
        >>> sorted(computed_buffers(torch.nn.BatchNorm2d(3)))
        ['num_batches_tracked']
    """
    names = set()
    for prefix, module in model.named_modules():
        for name, value in module.named_buffers(recurse=False):
            full_name = f'{prefix}.{name}' if prefix else name
            # The prototypes of a module that follows a file are learned, and so is what class each of them has.
            table = not hasattr(module, 'follow_state_dict') and _is_table(value)
            if table or name in module._non_persistent_buffers_set or _COMPUTED.search(full_name):
                names.add(full_name)
    return names


def _is_table(value: Tensor) -> bool:
    # A counter is one number; a state that begins with one value everywhere is to be filled by training.
    if value.is_floating_point() or value.is_complex() or value.is_meta or value.numel() < 2:
        return False
    return bool((value != value.flatten()[0]).any())


def check_state_dict(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Check that a state dict belongs to this model: the same names with the same shapes.

    Args:
        model (nn.Module): The model; what it computes from its config may be missing, see :func:`computed_buffers`.
        state_dict (Mapping): Names to tensors.
        source (str): The file or address the weights are from, for the error.

    Raises:
        CheckpointError: If names are missing or unexpected or shapes differ; it lists the first of each and the counts.
    """
    own, computed = model.state_dict(), computed_buffers(model)
    missing = [name for name in own if name not in state_dict and name not in computed]
    unexpected = [name for name in state_dict if name not in own and name not in computed]
    # What is missing, too much, or of another shape
    shapes = [
        f'{name}: {tuple(state_dict[name].shape)} in the file, {tuple(value.shape)} in the model'
        for name, value in own.items()
        if name in state_dict and isinstance(value, Tensor) and state_dict[name].shape != value.shape
    ]
    problems = [
        f'\n  {len(names)} {what}: {_shorten(names)}' for what, names in (
            ('missing in the file', missing), ('not in the model', unexpected), ('of another shape', shapes)) if names
    ]
    if problems:
        raise CheckpointError(f'The checkpoint "{source}" is not one of this model ({type(model).__name__}, '
                              f'{len(own)} entries).' + ''.join(problems))


def load_model_checkpoint(model: nn.Module,
                          path: Union[str, Path],
                          strict: bool = True,
                          map_location: Optional[str] = 'cpu',
                          rename: Optional[Callable[[Dict[str, Any]], Optional[Dict[str, Tensor]]]] = None
                          ) -> Dict[str, Any]:
    """Load a checkpoint file or address into a model.

    Args:
        model (nn.Module): The model, not wrapped for data-parallel training.
        path (str | Path): A file, or an address of a scheme known to MMEngine's ``CheckpointLoader``.
        strict (bool): Whether every weight must be there and fit. If not, what fits is loaded.
        map_location (str, optional): Device to read the file to.
        rename (Callable, optional): Takes the checkpoint; returns renamed weights, or None if it has nothing to rename.

    Returns:
        dict: The whole checkpoint, e.g. for its ``'meta'``.

    Raises:
        CheckpointError: If the file is no checkpoint or, with ``strict``, one of another model.
    """
    checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location)
    renamed = rename(checkpoint) if rename else None
    state_dict = get_state_dict(checkpoint) if renamed is None else renamed
    follow_sizes(model, state_dict)
    if strict:
        check_state_dict(model, state_dict, str(path))
    own = model.state_dict()
    fitting = {name: value for name, value in state_dict.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return checkpoint


def _shorten(names: List[str], limit: int = 5) -> str:
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')


register_checkpoint_loaders()
