"""The cells of each class in each image, all at once: sums, softmaxes and picks without a loop."""
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfss.utils.determinism import avoids_atomics


@dataclass
class ClassRegions:
    """Sort the cells of B label maps into regions: all cells of one class in one image.

    Letters: n cells that are not void, R regions that occur.

    Attributes:
        image (Tensor): Image of each cell, shape (n,), int64.
        cell (Tensor): Its place in raster order, 0 to h * w - 1, shape (n,), int64.
        label (Tensor): Its class, shape (n,), int64.
        region (Tensor): Its region, 0 to R - 1, shape (n,), int64.
        classes (Tensor): Class of each region, shape (R,), int64.
        sizes (Tensor): Cells of each region, shape (R,), int64.
    """
    image: Tensor
    cell: Tensor
    label: Tensor
    region: Tensor
    classes: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, target: Tensor, num_classes: int) -> 'ClassRegions':
        """Sort the cells of label maps.

        Args:
            target (Tensor): Labels at the cells, shape (B, h, w), int64; outside 0..C-1 is void.
            num_classes (int): C.
        """
        labels = target.flatten(1)
        image, cell = ((labels >= 0) & (labels < num_classes)).nonzero(as_tuple=True)
        label = labels[image, cell]
        key = image * num_classes + label
        counts = torch.bincount(key, minlength=len(labels) * num_classes)
        present = counts.nonzero().squeeze(1)
        number = torch.cumsum(counts > 0, 0) - 1
        return cls(image, cell, label, number[key], present % num_classes, counts[present])

    def own(self, maps: Tensor, table: Tensor) -> Tensor:
        """Pick from a stack of maps those of each cell's own class.

        Args:
            maps (Tensor): Shape (B, P, h, w).
            table (Tensor): Maps of each class, shape (C, M), int64; of what stands at -1, anything may be picked.

        Returns:
            Tensor: Shape (n, M).
        """
        num_maps, num_cells = maps.shape[1], maps.shape[2] * maps.shape[3]
        picks = table.clamp(min=0)[self.label] + num_maps * self.image[:, None]
        places = picks * num_cells + self.cell[:, None]
        return maps.flatten().gather(0, places.flatten()).view(places.shape)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the cells of each region, (n, ...) to (R, ...)."""
        return values.new_zeros(len(self.sizes), *values.shape[1:]).index_add(0, self.region, values)

    def amax(self, values: Tensor) -> Tensor:
        """Take the maximum over the cells of each region, (n, ...) to (R, ...)."""
        if avoids_atomics(values):
            return torch.stack([values[self.region == region].amax(0) for region in range(len(self.sizes))])
        index = self.region.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
        out = values.new_full((len(self.sizes), *values.shape[1:]), -torch.inf)
        return out.scatter_reduce(0, index, values, 'amax')

    def log_softmax(self, values: Tensor) -> Tensor:
        """Compute the log softmax over the cells of each region, (n, ...) to (n, ...)."""
        shifted = values - self.amax(values.detach())[self.region]
        return shifted - self.sum(shifted.exp()).log()[self.region]
