"""Losses of images that have a mask or only labels of the whole image, for any number of processes."""
import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def labelled_cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = 255) -> Tensor:
    """Compute the mean cross entropy over the labelled pixels of all processes.

    Args:
        logits (Tensor): Shape (N, K, H, W).
        target (Tensor): Class of every pixel or ``ignore_index``, shape (N, H, W), int64.
        ignore_index (int): Label of pixels without one.

    Returns:
        Tensor: A scalar: this process's sum times the number of processes, by the labelled pixels of all of them. Its
        mean over the processes, which is what their gradients are averaged to, is the mean over all pixels. Without any
        labelled pixel it is 0, with a gradient of 0.
    """
    count = (target != ignore_index).sum()
    all_reduce(count)
    if int(count) == 0:
        return 0 * logits.sum()
    # Not reduced by the loss itself, whose order of addition is not fixed on a GPU.
    total = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction='none').sum()
    return total * get_world_size() / count


def image_label_loss(logits: Tensor, labels: Tensor, background: bool = True, over_batch: str = 'sum') -> Tensor:
    """Compute the binary cross entropy of image-level labels (PyTorch's ``multilabel_soft_margin_loss``).

    Args:
        logits (Tensor): Shape (N, K).
        labels (Tensor): 1 for the classes in the image, else 0, shape (N, K).
        background (bool): Class 0 is in every image: it has weight 0, but counts in the mean over classes.
        over_batch (str): ``'mean'`` over the images, or ``'sum'``, which multiplies it by the images of all processes.

    Returns:
        Tensor: A scalar.
    """
    weight = torch.ones(logits.shape[1], device=logits.device)
    weight[0] = 0. if background else 1.
    mean = F.multilabel_soft_margin_loss(logits.float(), labels.to(torch.float32), weight)
    return mean * len(logits) * get_world_size() if over_batch == 'sum' else mean
