"""Rows of weights on the probability simplex: 0 or more, and 1 in sum."""
from typing import Optional

import torch
from torch import Tensor


def project_to_simplex(rows: Tensor, valid: Optional[Tensor] = None) -> Tensor:
    r"""Project each row to the nearest point of the probability simplex.

    With u the row in descending order and :math:`\rho` the largest j with :math:`u_j > (\sum_{i \le j} u_i - 1) / j`,
    the row becomes :math:`\max(v - \theta, 0)`, :math:`\theta = (\sum_{i \le \rho} u_i - 1) / \rho`.

    Args:
        rows (Tensor): Any numbers, shape (..., n).
        valid (Tensor, optional): Entries that take part, bool, broadcastable to ``rows``; the others become 0. A row
            without any is all 0.

    Returns:
        Tensor: The same shape.
    """
    if valid is not None:
        rows = rows.masked_fill(~valid, -torch.inf)
    descending = rows.sort(dim=-1, descending=True).values
    counts = torch.arange(1, rows.shape[-1] + 1, device=rows.device, dtype=rows.dtype)
    thresholds = (descending.nan_to_num(neginf=0).cumsum(-1) - 1) / counts
    last = ((descending > thresholds) * counts).amax(-1, keepdim=True).long().clamp(min=1) - 1
    return (rows - thresholds.gather(-1, last)).clamp(min=0)
