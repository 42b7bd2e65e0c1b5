"""The model inside the wrapper of data-parallel training."""
from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model that a wrapper such as ``DistributedDataParallel`` holds, or the model itself."""
    return model.module if is_model_wrapper(model) else model
