"""Isolation of explainers: a private model and tensors, independent of the caller's context."""
import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import Iterator, TypeVar

import torch
from torch import Tensor, nn

from mmfss.models import BaseFewShotSegmentor
from mmfss.models.features import lock_of
from mmfss.structures import Episode

T = TypeVar('T')


@contextmanager
def isolated(model: BaseFewShotSegmentor, own_copy: bool = True) -> Iterator[BaseFewShotSegmentor]:
    """Provide a model to an explainer, in a context that makes explanations reproducible.

    Inference mode is left (:func:`torch.enable_grad` then works) and autocast is off: explanations are computed in the
    precision of the weights.

    Args:
        model (BaseFewShotSegmentor): The model, in any mode, compiled or not.
        own_copy (bool): Whether the explainer may set hooks or ask for gradients, and gets a copy. If False, it gets
            the model itself if that is in eval mode and not compiled.

    Yields:
        BaseFewShotSegmentor: The model, or a copy that shares the weights: in eval mode, not compiled, and no parameter
        requires a gradient.
    """
    gradients = torch.is_grad_enabled()
    device = next((x.device.type for x in model.parameters()), 'cpu')
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), torch.autocast(device, enabled=False):
        yield private_copy(model) if own_copy or not _is_plain(model) else model


def private_copy(model: BaseFewShotSegmentor) -> BaseFewShotSegmentor:
    """Copy a model with shared weights, see :func:`isolated`.

    Raises:
        ValueError: If the model cannot be copied.
    """
    shared = {}
    for module in model.modules():
        for x in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(x, nn.Parameter):
                shared[id(x)] = nn.Parameter(ordinary(x.detach()), requires_grad=False)
            elif isinstance(x, Tensor):
                shared[id(x)] = ordinary(x)
    if hasattr(model, 'cfg'):
        shared[id(model.cfg)] = model.cfg
    try:
        # No other thread's hooks may get into the copy.
        with lock_of(getattr(model, 'backbone', model)):
            # Of a compiled part (`torch.compile` wraps it), the original is copied. Inner parts come first.
            for module in reversed(list(model.modules())):
                if '_orig_mod' in module._modules:
                    shared[id(module)] = copy.deepcopy(module._modules['_orig_mod'], shared)
            return copy.deepcopy(model, shared).eval()
    except TypeError as error:
        raise ValueError(f'The model cannot be explained because it cannot be copied ({error}): keep what cannot be '
                         'copied, such as locks and open files, out of its attributes.') from error


def ordinary(value: T) -> T:
    """Return tensors (or an episode) that allow gradients; tensors made in inference mode are copied."""
    if isinstance(value, Episode):
        return replace(value, **{name: ordinary(x) for name, x in vars(value).items() if isinstance(x, Tensor)})
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _is_plain(model: nn.Module) -> bool:
    return not any(module.training or '_orig_mod' in module._modules or module._compiled_call_impl is not None
                   for module in model.modules())
