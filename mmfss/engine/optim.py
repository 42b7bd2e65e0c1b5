"""Optimizer wrappers: only trainable parameters, and bfloat16 without a GPU."""
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Union

import torch
from mmengine.device import get_device
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmfss.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Construct optimizer wrappers like MMEngine, without parameters that do not require gradients.

    A frozen backbone then costs no optimizer state and no weight decay can reach it. ``paramwise_cfg`` works as usual.

    Args:
        optim_wrapper_cfg (dict): As for MMEngine's default constructor.
        paramwise_cfg (dict, optional): As for MMEngine's default constructor.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model.

        Args:
            model (nn.Module): The model, possibly wrapped for data-parallel training.

        Returns:
            OptimWrapper: The wrapper around the optimizer.

        Raises:
            ValueError: If no parameter of the model requires a gradient.
        """
        model = getattr(model, 'module', model)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trainable:
            raise ValueError(f'{type(model).__name__} has no parameter to train: all of them have requires_grad=False.')
        if self.paramwise_cfg:
            return super().__call__(model)
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=trainable))
        return OPTIM_WRAPPERS.build(dict(dict(type='OptimWrapper'), **self.optim_wrapper_cfg, optimizer=optimizer))

    def add_params(self,
                   params: List[dict],
                   module: nn.Module,
                   prefix: str = '',
                   is_dcn_module: Optional[Union[int, float]] = None) -> None:
        """Add the parameter groups of a module, skipping frozen modules as a whole.

        The default constructor would log one warning for every frozen parameter.

        Args:
            params (list[dict]): Parameter groups, extended in place.
            module (nn.Module): The module to add.
            prefix (str): Name of the module in the model.
            is_dcn_module (int | float, optional): As for MMEngine's default constructor.
        """
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Train in bfloat16 under autocast, on a CPU or a GPU.

    bfloat16 has the exponent range of float32, so gradients need no scaling. Weights, gradients and optimizer state
    stay float32.

    Args:
        **kwargs: As for :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[Any]:
        """Run the forward pass of a training step in bfloat16.

        Args:
            model (nn.Module): The model to be trained.
        """
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
