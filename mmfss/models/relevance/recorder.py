"""Record of a forward pass: what every layer was given, for rules that run it backward."""
import copy
from contextlib import contextmanager
from typing import Iterable, Iterator, Optional

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Recorded:
    """Hold input and output of one layer in one forward pass, with their graph.

    Half precision is converted to float32: relevance is a ratio of small numbers, whose offsets (1e-8, 1e-9) vanish
    in it.

    Args:
        module (Module): The layer.
        input (Tensor): Its input.
        output (Tensor): Its output. That of batch norm is copied, as the ReLU that follows works in place.
    """

    def __init__(self, module: nn.Module, input: Tensor, output: Tensor) -> None:
        self.module, self.input = module, _full(input)
        self._output = output.clone() if isinstance(module, _BatchNorm) else output
        self._version = self._output._version
        self.variance: Optional[Tensor] = None
        """Variance by which batch norm has normalized, shape (C,)."""
        if isinstance(module, _BatchNorm):
            # The running statistics of now, whatever the module learns until the rules are applied
            self.variance = (batch_variance(self.input, isinstance(module, nn.SyncBatchNorm)) if module.training
                             else module.running_var.clone())

    @property
    def output(self) -> Optional[Tensor]:
        """Tensor, optional: The output; None if something has changed it in place since."""
        return _full(self._output) if self._output._version == self._version else None

    def at(self, cut: 'GraphCut') -> 'Recorded':
        """Return the same record, whose graph ends at its own tensors."""
        record = copy.copy(self)
        record.input = cut(self.input)
        record.variance = None if self.variance is None else cut(self.variance)
        if self.output is not None:
            record._output = cut(self._output)
            record._version = record._output._version
        return record


class GraphCut:
    """Cut a graph in two at some tensors, so that its later part can be run backward on its own, again and again.

    The gradients add up at the cut. After :meth:`join`, one backward pass through the whole graph takes them along.

    Example:
        >>> import torch
        >>> from mmfss.models.relevance import GraphCut
        >>> x = torch.ones(1, requires_grad=True)
        >>> y, cut = 2 * x, GraphCut()
        >>> for factor in (3, 4):
        ...     (factor * cut(y)).backward()
        >>> cut.join()
        >>> (5 * y).backward()
        >>> x.grad
        tensor([24.])
    """

    def __init__(self) -> None:
        self._leaves: dict[Tensor, Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Return a tensor without the graph before it, always the same one; in float32 if it is of half precision."""
        if x.requires_grad and x not in self._leaves:
            self._leaves[x] = _full(x.detach()).requires_grad_()
        return self._leaves.get(x, x)

    def join(self) -> None:
        """Let the next backward pass through the tensors add the gradients of the passes that ended at the cut."""
        for x, leaf in self._leaves.items():
            if leaf.grad is not None:
                x.register_hook(lambda gradient, added=leaf.grad: gradient + added.to(gradient.dtype))


def batch_variance(x: Tensor, over_ranks: bool = False) -> Tensor:
    """Compute the biased variance of maps over images and pixels.

    Args:
        x (Tensor): Shape (N, C, H, W).
        over_ranks (bool): Over the images of all processes, as SyncBatchNorm; then without gradient.

    Returns:
        Tensor: Shape (C,).
    """
    if not over_ranks or get_world_size() == 1:
        return x.var((0, 2, 3), unbiased=False)
    with torch.no_grad():
        count = x.new_full((1, ), x.numel() / x.shape[1])
        sums = torch.cat((count, x.sum((0, 2, 3))))
        all_reduce(sums)
        mean = sums[1:] / sums[0]
        squares = ((x - mean.view(-1, 1, 1))**2).sum((0, 2, 3))
        all_reduce(squares)
        return squares / sums[0]


def _full(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class ForwardRecord(dict[nn.Module, Recorded]):
    """Map the layers of a network to what they were given."""

    def __missing__(self, module: nn.Module) -> Recorded:
        raise KeyError(f'The layer {module} was not run in the recorded forward pass.')

    def at(self, cut: GraphCut) -> 'ForwardRecord':
        """Return the same record, whose graph ends at its own tensors."""
        return ForwardRecord({module: recorded.at(cut) for module, recorded in self.items()})


@contextmanager
def record_forward(modules: Iterable[nn.Module]) -> Iterator[ForwardRecord]:
    """Record what modules are given in the forward passes within the block; the last pass counts.

    Args:
        modules (Iterable[Module]): Layers that work on one tensor.

    Yields:
        ForwardRecord: Filled by the forward pass.
    """
    record = ForwardRecord()

    def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        record[module] = Recorded(module, inputs[0], output)

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()
