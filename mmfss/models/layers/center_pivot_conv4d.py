"""Convolution of a correlation between two images."""
import torch.nn.functional as F
from torch import Tensor, nn


class CenterPivotConv4d(nn.Module):
    """Convolve in 4-D with only the kernel entries that touch a centre (HSNet, section 4.2).

    A full kernel over (query row, query column, support row, support column) has k^4 entries. Only those whose query
    offset or whose support offset is zero are kept. They form two 2-D convolutions: one over the query's positions, for
    each support position, and one over the support's, for each query position. Each has its own bias,
    and the centre entry is in both, as published.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the result.
        kernel_size (int): Side of the kernel, k, odd.
        support_stride (int): Stride over the support's positions, s; that over the query's is 1.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, support_stride: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.support_stride = support_stride
        self.query_conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.support_conv = nn.Conv2d(in_channels, out_channels, kernel_size, support_stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a correlation.

        Args:
            x (Tensor): Shape (B, C, h, w, h', w'): query positions, then support positions. The layout
                (B, h, w, C, h', w') in memory saves a copy.

        Returns:
            Tensor: Shape (B, out_channels, h, w, ceil(h' / s), ceil(w' / s)).
        """
        pivots = x[..., ::self.support_stride, ::self.support_stride]
        return self._over_query(pivots) + self._over_support(x)

    def _over_query(self, x: Tensor) -> Tensor:
        batch, _, _, _, rows, cols = x.shape
        out = self.query_conv(x.permute(0, 4, 5, 1, 2, 3).flatten(0, 2))
        return out.unflatten(0, (batch, rows, cols)).permute(0, 3, 4, 5, 1, 2)

    def _over_support(self, x: Tensor) -> Tensor:
        batch, _, rows, cols, *support_size = x.shape
        conv = self.support_conv
        # A stride longer than the side does what one of its length does, but oneDNN, on a CPU, gives it wrong gradients
        # of the weights in bfloat16, even NaN.
        stride = [min(self.support_stride, side) for side in support_size]
        maps = x.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        out = F.conv2d(maps, conv.weight, conv.bias, stride, conv.padding)
        return out.unflatten(0, (batch, rows, cols)).permute(0, 3, 1, 2, 4, 5)


class CenterPivotBlock(nn.Sequential):
    """Stack center-pivot convolutions, each with GroupNorm of 4 groups over all positions, and ReLU.

    Args:
        channels (Sequence[int]): Channels before the first and after every convolution.
        kernel_sizes (Sequence[int]): Kernel of each convolution.
        support_strides (Sequence[int]): Support stride of each convolution.
    """

    def __init__(self, channels: tuple[int, ...], kernel_sizes: tuple[int, ...],
                 support_strides: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for c_in, c_out, kernel, stride in zip(channels, channels[1:], kernel_sizes, support_strides):
            layers += [CenterPivotConv4d(c_in, c_out, kernel, stride), nn.GroupNorm(4, c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


def query_major(batch: int, channels: int, query_size: tuple[int, int], support_size: tuple[int, int],
                like: Tensor) -> Tensor:
    """Allocate (B, C, h, w, h', w') in the memory layout that :class:`CenterPivotConv4d` reads without copying.

    Args:
        batch (int): B.
        channels (int): C.
        query_size (tuple[int, int]): (h, w).
        support_size (tuple[int, int]): (h', w').
        like (Tensor): Gives the type and the device.
    """
    return like.new_empty(batch, *query_size, channels, *support_size).permute(0, 3, 1, 2, 4, 5)
