"""Rules of layer-wise relevance propagation (LRP), one function per layer.

``a`` is the input of a layer, ``R`` the relevance at its output; every function returns the relevance at its input. R
may have leading axes that ``a`` lacks, e.g. one for the classes: then ``a`` is shared, and what depends on ``a`` alone
is computed once. Every rule is linear in R. Source: Yu et al., arXiv 2407.03009 (epsilon rule, batch norm, residual
split); Bach et al., PLOS ONE 2015 (alpha-beta rule); Montavon et al., Pattern Recognition 2017 (bounded inputs).
"""
from typing import Callable, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-9
"""Offset of every denominator, to positive and negative ones alike."""
UNPOOL = ('last', 'sum')
BN_DETACH = ('ratio', 'stat', 'none')


class ConvShape(NamedTuple):
    """Hyperparameters of a convolution, each a pair but ``groups``."""
    stride: Sequence[int] = (1, 1)
    padding: Sequence[int] = (0, 0)
    dilation: Sequence[int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, conv: nn.Conv2d) -> 'ConvShape':
        """Read them from a module."""
        return cls(conv.stride, conv.padding, conv.dilation, conv.groups)

    def forward(self, a: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
        """Convolve."""
        return F.conv2d(a, weight, bias, *self)

    def transposed(self, s: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
        """Convolve (..., O, h, w) with the transposed kernel, to maps of ``size`` (H, W)."""
        kernel = weight.shape[2:]
        # What the stride leaves over at the lower and right border
        rest = [(full + 2 * pad - dilation * (k - 1) - 1) % stride
                for full, pad, dilation, k, stride in zip(size, self.padding, self.dilation, kernel, self.stride)]
        flat = s.reshape(-1, *s.shape[-3:])
        out = F.conv_transpose2d(flat, weight, None, self.stride, self.padding, rest, self.groups, self.dilation)
        return out.view(*s.shape[:-3], *out.shape[1:])


def safe_divide(p: Tensor, q: Tensor) -> Tensor:
    """Compute p / (q + 1e-9), and 0 where q is 0.

    p may be much larger than q, by an axis of classes: q is inverted once, and p multiplied once.

    Args:
        p (Tensor): Numerator.
        q (Tensor): Denominator, of a shape that broadcasts with p's.

    Returns:
        Tensor: The quotient. Where q + 1e-9 is exactly 0, the denominator is 1e-9.

    Example:
        >>> import torch
        >>> from mmfss.models.relevance import safe_divide
        >>> safe_divide(torch.tensor([6., 6.]), torch.tensor([2., 0.]))
        tensor([3., 0.])
    """
    denominator = q + TINY
    denominator = torch.where(denominator == 0, TINY, denominator)
    return p * ((q != 0) / denominator)


def relprop_linear(R: Tensor, a: Tensor, weight: Tensor, bias: Optional[Tensor] = None, epsilon: float = 1e-8,
                   output: Optional[Tensor] = None, weight_back: Optional[Tensor] = None) -> Tensor:
    """Epsilon rule of a linear layer: a * W^T [R / (W a + b + epsilon)].

    Args:
        R (Tensor): Shape (..., N, O).
        a (Tensor): Shape (N, I).
        weight (Tensor): Shape (O, I).
        bias (Tensor, optional): Shape (O,); takes its share of relevance, which is lost, and gets no gradient.
        epsilon (float): Added to the output, whatever its sign.
        output (Tensor, optional): W a + b, if it is known.
        weight_back (Tensor, optional): Weight of the backward direction, if it is not the same one.

    Returns:
        Tensor: Shape (..., N, I).
    """
    if output is None:
        output = F.linear(a, weight, None if bias is None else bias.detach())
    s = safe_divide(R, output + epsilon)
    return a * (s @ (weight if weight_back is None else weight_back))


def relprop_conv(R: Tensor, a: Tensor, weight: Tensor, bias: Optional[Tensor] = None, shape: ConvShape = ConvShape(),
                 epsilon: float = 1e-8, output: Optional[Tensor] = None,
                 weight_back: Optional[Tensor] = None) -> Tensor:
    """Epsilon rule of a convolution: a * convT(R / (conv(a; W, b) + epsilon); W).

    Args:
        R (Tensor): Shape (..., N, O, h, w).
        a (Tensor): Shape (N, I, H, W).
        weight (Tensor): Shape (O, I / groups, k, k).
        bias (Tensor, optional): As for :func:`relprop_linear`.
        shape (ConvShape): Stride, padding, dilation, groups.
        epsilon (float): As for :func:`relprop_linear`.
        output (Tensor, optional): As for :func:`relprop_linear`.
        weight_back (Tensor, optional): As for :func:`relprop_linear`.

    Returns:
        Tensor: Shape (..., N, I, H, W).
    """
    if output is None:
        output = shape.forward(a, weight, None if bias is None else bias.detach())
    s = safe_divide(R, output + epsilon)
    return a * shape.transposed(s, weight if weight_back is None else weight_back, a.shape[2:])


def relprop_batchnorm(R: Tensor, a: Tensor, y: Tensor, weight: Optional[Tensor], variance: Tensor, eps: float = 1e-5,
                      detach: str = 'ratio') -> Tensor:
    """Rule of batch norm: gamma / sqrt(v + eps) * (a / y) * R.

    Args:
        R (Tensor): Shape (..., N, C, H, W).
        a (Tensor): Shape (N, C, H, W).
        y (Tensor): What follows: the output, behind the ReLU if there is one, shape (N, C, H, W).
        weight (Tensor, optional): gamma, shape (C,).
        variance (Tensor): v, of the running statistics or, in training mode, the biased one of ``a``, shape (C,).
        eps (float): The layer's.
        detach (str): Without gradient: ``'ratio'``, the whole factor of R (as published); ``'stat'``, v; ``'none'``,
            nothing.

    Returns:
        Tensor: Shape (..., N, C, H, W).
    """
    variance = variance if detach == 'none' else variance.detach()
    std = (variance + eps).sqrt()
    scale = safe_divide(torch.ones_like(std) if weight is None else weight, std)
    factor = scale.view(-1, 1, 1) * safe_divide(a, y)
    return (factor.detach() if detach == 'ratio' else factor) * R


def relprop_maxpool(R: Tensor, indices: Tensor, size: Sequence[int], unpool: str = 'last') -> Tensor:
    """Rule of max pooling: relevance goes to the position of the maximum.

    Args:
        R (Tensor): Shape (..., N, C, h, w).
        indices (Tensor): Position of each window's maximum in the flat input, shape (N, C, h, w).
        size (Sequence[int]): Size (H, W) of the input.
        unpool (str): Where a position is the maximum of several windows: ``'last'`` keeps the relevance of the last
            one in raster order (as published; its gradient still goes to all of them), ``'sum'`` adds them up
            (conserves relevance). The same for windows that do not overlap.

    Returns:
        Tensor: Shape (..., N, C, H, W). Both are deterministic.
    """
    flat, places = R.flatten(-2), indices.flatten(-2)
    length = size[0] * size[1]
    out = _LastWindow.apply(flat, places, length) if unpool == 'last' else _scatter(flat, places, length)
    return out.view(*R.shape[:-2], *size)


def _scatter(flat: Tensor, places: Tensor, length: int) -> Tensor:
    return flat.new_zeros(*flat.shape[:-1], length).scatter_add(-1, places.expand_as(flat), flat)


class _LastWindow(torch.autograd.Function):
    """Write (..., n) to ``places`` (..., n) of a longer axis; the last one stays, and all get the gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, flat: Tensor, places: Tensor, length: int) -> Tensor:
        ctx.save_for_backward(places)
        numbers = torch.arange(flat.shape[-1], device=flat.device).expand_as(places)
        last = numbers.new_full((*places.shape[:-1], length), -1).scatter_reduce(-1, places, numbers, 'amax')
        found = flat.gather(-1, last.clamp(min=0).expand(*flat.shape[:-1], length))
        return found * (last >= 0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
        places, = ctx.saved_tensors
        return gradient.gather(-1, places.expand(*gradient.shape[:-1], places.shape[-1])), None, None


def relprop_avgpool(R: Tensor, a: Tensor, output_size: Sequence[int]) -> Tensor:
    """Rule of adaptive average pooling: a * P^T [R / (P a)], P the pooling as a linear map.

    Args:
        R (Tensor): Shape (..., N, C, h, w).
        a (Tensor): Shape (N, C, H, W), of any size.
        output_size (Sequence[int]): (h, w).

    Returns:
        Tensor: Shape (..., N, C, H, W).
    """
    s = safe_divide(R, F.adaptive_avg_pool2d(a, tuple(output_size)))
    rows, cols = (_pooling(full, part, a) for full, part in zip(a.shape[2:], output_size))
    return a * (rows @ s @ cols.T)


def _pooling(full: int, part: int, like: Tensor) -> Tensor:
    """Weights of adaptive average pooling along one axis, shape (full, part)."""
    return F.adaptive_avg_pool1d(torch.eye(full, dtype=like.dtype, device=like.device), part)


def split_residual(R: Tensor, main: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
    """Split relevance over the branches of a residual block, in proportion to what each adds to their sum.

    Args:
        R (Tensor): Shape (..., N, C, H, W).
        main (Tensor): Output of the main branch, shape (N, C, H, W). (The published code computes it as sum - shortcut,
            whose rounding errors the following division by ``main`` magnifies.)
        shortcut (Tensor): Output of the shortcut, shape (N, C, H, W).

    Returns:
        tuple[Tensor, Tensor]: Relevance of the main branch and of the shortcut, each (..., N, C, H, W).
    """
    total = main + shortcut
    inverse = safe_divide(torch.ones_like(total), total)
    return (main * inverse) * R, (shortcut * inverse) * R


def _alpha_beta(R: Tensor, a: Tensor, weight: Tensor, alpha: float, forward: Callable[[Tensor, Tensor], Tensor],
                back: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    positive = weight.clamp(min=0)
    out = alpha * a * back(safe_divide(R, forward(a, positive)), positive)
    if alpha > 1:
        negative = weight.clamp(max=0)
        out = out - (alpha - 1) * a * back(safe_divide(R, forward(a, negative)), negative)
    return out


def relprop_linear_alphabeta(R: Tensor, a: Tensor, weight: Tensor, alpha: float = 1.0) -> Tensor:
    """Alpha-beta rule: alpha a * W+^T [R / (W+ a)] - beta a * W-^T [R / (W- a)], beta = alpha - 1, a >= 0, no bias."""
    return _alpha_beta(R, a, weight, alpha, F.linear, torch.matmul)


def relprop_conv_alphabeta(R: Tensor, a: Tensor, weight: Tensor, shape: ConvShape = ConvShape(),
                           alpha: float = 1.0) -> Tensor:
    """Alpha-beta rule of a convolution, see :func:`relprop_linear_alphabeta`."""
    return _alpha_beta(R, a, weight, alpha, shape.forward, lambda s, w: shape.transposed(s, w, a.shape[2:]))


def relprop_conv_bounded(R: Tensor, a: Tensor, weight: Tensor, shape: ConvShape = ConvShape()) -> Tensor:
    """Rule of bounded inputs, for the first convolution: a * W^T S - l * W+^T S - h * W-^T S, S = R / Z.

    Z = W a - W+ l - W- h + 1e-9; l and h are the smallest and the largest value of each image.
    """
    low, high = (bound.view(-1, 1, 1, 1).expand_as(a) for bound in a.flatten(1).aminmax(dim=1))
    parts = ((a, weight), (-low, weight.clamp(min=0)), (-high, weight.clamp(max=0)))
    s = R / (sum(shape.forward(values, kernel) for values, kernel in parts) + TINY)
    return sum(values * shape.transposed(s, kernel, a.shape[2:]) for values, kernel in parts)


def relprop_batchnorm_alphabeta(R: Tensor, a: Tensor, weight: Optional[Tensor]) -> Tensor:
    """Pass relevance through batch norm: R q / (q + 1e-9), q = a gamma."""
    q = a if weight is None else a * weight.view(-1, 1, 1)
    return safe_divide(q, q) * R
