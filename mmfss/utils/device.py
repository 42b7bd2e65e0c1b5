"""Device of a model."""
from itertools import chain

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model, which need not have parameters.

    Args:
        model (nn.Module): A model with at least one parameter or buffer, such as the statistics of a preprocessor.

    Example:
        >>> from torch import nn
        >>> from mmfss.utils.device import device_of
        >>> device_of(nn.Linear(2, 1))
        device(type='cpu')
    """
    return next(chain(model.parameters(), model.buffers())).device
