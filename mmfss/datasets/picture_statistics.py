"""Simple statistics of pictures, by which to tell whether a model was trained on pictures of that kind."""
from typing import Sequence

import torch
from torch import Tensor

FEWEST = 50
"""Pictures that a judgement needs: half of them bound how far a picture of the same kind lies from the others."""


def picture_statistics(picture: Tensor) -> Tensor:
    """Compute statistics of color, contrast and detail.

    Args:
        picture (Tensor): Shape (3, H, W), values 0..255.

    Returns:
        Tensor: Shape (11, ): mean and standard deviation of each channel, from 0 to 1; the logarithms of the mean
        difference of pixels at distances of 1, 2, 4 and 8, in gray levels, 0 in a smaller picture; and the share of
        neighbors that are equal within a gray level, of which drawn pictures have many and photographs few.

    Example:
        >>> picture_statistics(torch.full((3, 8, 8), 255.))[[0, 3, 10]].tolist()
        [1.0, 0.0, 1.0]
    """
    picture = picture.float()
    gray = picture.mean(0)
    steps = [torch.cat([(gray[step:] - gray[:-step]).flatten(), (gray[:, step:] - gray[:, :-step]).flatten()]).abs()
             for step in (1, 2, 4, 8)]
    detail = torch.stack([torch.log1p(step.sum() / max(1, len(step))) for step in steps])
    flat = (steps[0] < 1).float().mean()
    return torch.cat((picture.mean((1, 2)) / 255, picture.std((1, 2), unbiased=False) / 255, detail, flat[None]))


def unlike_training(statistics: Tensor, pictures: Sequence[Tensor]) -> list[bool]:
    """Tell which pictures are unlike all training pictures.

    A picture's distance is the Mahalanobis distance to every second training picture. It is unlike them if it lies
    farther than each of the others. A new picture of the same kind is equally likely to take any rank among these M
    others, so that it is called unlike with a probability of 1 / (M + 1), whatever the distribution.

    Args:
        statistics (Tensor): Of N training pictures, (N, 11).
        pictures (Sequence[Tensor]): Pictures (3, H, W) as the training saw them, values 0..255.

    Returns:
        list[bool]: For each picture; all False if there are fewer than 50 training pictures.
    """
    if len(statistics) < FEWEST or not pictures:
        return [False] * len(pictures)
    fitted, others = statistics[::2].double(), statistics[1::2].double()
    center = fitted.mean(0)
    # The identity stands for rounding to 8 bits, and keeps the matrix regular where all pictures agree.
    covariance = fitted.T.cov() + torch.eye(len(center), dtype=torch.float64) / 255**2
    new = torch.stack([picture_statistics(picture) for picture in pictures]).double()

    def distance(values: Tensor) -> Tensor:
        offset = values - center
        return (offset * torch.linalg.solve(covariance, offset.T).T).sum(1)

    return (distance(new) > distance(others).max()).tolist()
