"""Search for the training patches nearest to prototypes, in one pass over the images."""
from typing import Optional, Sequence

import torch
from torch import Tensor

from mmfss.models import PrototypeHead

EXACT = 'donot_use_mm_for_euclid_dist'
"""Mode of ``torch.cdist`` that takes differences, without cancellation."""


class NearestCells:
    r"""Search each prototype's nearest cell among the cells of its class, image by image (section 4: push).

    For prototype p of class c and scale s: :math:`\arg\min_{n, i} \|z_{n, s}(i) - p\|^2` over images n and cells i
    labelled c. Of equal distances the first image counts, and in it the first cell in raster order. Only the cells of a
    prototype's own class are compared, by plain differences: a prototype that is a training feature finds itself, at a
    distance of exactly 0. State: P (D + 5) numbers.

    Args:
        head (PrototypeHead): Its prototypes are searched for.

    Attributes:
        distance (Tensor): Smallest Euclidean distance so far, infinite while no cell was found, shape (P,).
        image (Tensor): Index of its image, -1 for none, shape (P,), int64.
        cell (Tensor): Its cell in raster order, shape (P,), int64.
        size (Tensor): Height and width of the grid it lies on, shape (P, 2), int64.
        feature (Tensor): Its feature, shape (P, D).
        origin (Tensor): Feature of the first cell of image 0 at each scale, shape (S, D).
    """
    FIELDS = ('distance', 'image', 'cell', 'size', 'feature', 'origin')

    def __init__(self, head: PrototypeHead) -> None:
        vectors = head.prototypes.detach().float()
        starts = torch.tensor([part.start for part in head.scale_slices], device=vectors.device)
        table = head.scale_table
        self.index = (table + starts[:, None, None]).masked_fill(table < 0, -1).transpose(0, 1)  # (C, S, M)
        self.vectors = vectors[self.index.clamp(min=0)]  # (C, S, M, D)
        count = len(vectors)
        self.distance = vectors.new_full((count, ), torch.inf)
        self.image = torch.full((count, ), -1, device=vectors.device)
        self.cell = torch.full_like(self.image, -1)
        self.size = self.image.new_zeros(count, 2)
        self.feature = torch.zeros_like(vectors)
        self.origin = vectors.new_zeros(head.num_scales, vectors.shape[1])

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, images: Sequence[int]) -> None:
        """Update the search with some images.

        Args:
            features (Tensor): Features of each scale, shape (B, S, D, h, w).
            labels (Tensor): Labels at the cells, shape (B, h, w), int64; outside 0..C-1 is void.
            images (Sequence[int]): Index of each of the B images; smaller ones first in every search.
        """
        size = self.size.new_tensor(features.shape[-2:])
        for feature, label, image in zip(features.float().flatten(3), labels.flatten(1), images):
            # (N, S, D), so that compared vectors are contiguous. PyTorch transposes matrices faster than other tensors.
            cells = feature.flatten(0, 1).t().contiguous().unflatten(1, feature.shape[:2])
            if image == 0:
                self.origin = cells[0].clone()
            nearest = self._nearest_of_own_class(cells, label)
            if nearest is not None:
                self._keep_better(*nearest, cells, image, size)

    def _nearest_of_own_class(self, cells: Tensor, label: Tensor) -> Optional[tuple[Tensor, Tensor, Tensor]]:
        """Compare the prototypes of each class that occurs (k of them) with the cells of that class.

        Returns:
            tuple[Tensor, Tensor, Tensor]: The prototypes, -1 for none, their smallest distances and the cells, all of
            shape (k, S, M); None if there is no labelled cell.
        """
        # Stable: the cells of a class stay in raster order.
        label, order = label.sort(stable=True)
        classes, counts = label.unique_consecutive(return_counts=True)
        ends = counts.cumsum(0)
        regions = [(class_id, end - count, end) for class_id, end, count in zip(
            classes.tolist(), ends.tolist(), counts.tolist()) if 0 <= class_id < len(self.index)]
        if not regions:
            return None
        values, places = [], []
        for class_id, start, end in regions:
            own = cells.index_select(0, order[start:end]).transpose(0, 1)
            distances = torch.cdist(self.vectors[class_id], own, compute_mode=EXACT)  # (S, M, n)
            nearest = distances.argmin(2, keepdim=True)  # The first of equal ones.
            values.append(distances.gather(2, nearest).squeeze(2))
            places.append(nearest.squeeze(2) + start)
        prototypes = self.index[[class_id for class_id, _, _ in regions]]
        return prototypes, torch.stack(values), order[torch.stack(places)]

    def _keep_better(self, prototypes: Tensor, values: Tensor, places: Tensor, cells: Tensor, image: int,
                     size: Tensor) -> None:
        better = (prototypes >= 0) & (values < self.distance[prototypes.clamp(min=0)])
        _, scale, _ = better.nonzero(as_tuple=True)
        found, cell = prototypes[better], places[better]
        self.distance[found], self.image[found] = values[better], image
        self.cell[found], self.size[found] = cell, size
        self.feature[found] = cells[cell, scale]

    def merge(self, other: dict[str, Tensor]) -> None:
        """Merge the results of another process: the better has the smaller distance, then image, then cell.

        Args:
            other (dict): Its :meth:`state_dict`.
        """
        other = {name: value.to(self.distance.device) for name, value in other.items()}
        better, equal = other['distance'] < self.distance, other['distance'] == self.distance
        for name in ('image', 'cell'):
            better |= equal & (other[name] < getattr(self, name))
            equal &= other[name] == getattr(self, name)
        for name in self.FIELDS[:-1]:
            getattr(self, name)[better] = other[name][better]
        if bool((other['origin'] != 0).any()):
            self.origin = other['origin']

    def state_dict(self) -> dict[str, Tensor]:
        """dict: Results so far, on the CPU."""
        return {name: getattr(self, name).cpu() for name in self.FIELDS}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue a search.

        Args:
            state (dict): Result of :meth:`state_dict`.
        """
        for name in self.FIELDS:
            setattr(self, name, state[name].to(self.distance.device))


class NearestImages:
    """Search the k images nearest to each prototype, each with its nearest cell, whatever its class.

    Cells without a label (void) do not count. Of equal distances the first image and cell count. State: 4 P k numbers.

    Args:
        num_prototypes (int): P.
        num_nearest (int): k.

    Attributes:
        distance (Tensor): Squared distances in ascending order, infinite where there are fewer images, shape (P, k).
        image (Tensor): Index of the image, -1 for none, shape (P, k), int64.
        cell (Tensor): Nearest cell in it, in raster order, shape (P, k), int64.
        label (Tensor): Label of the hit, -1 for void, shape (P, k), int64.
    """

    def __init__(self, num_prototypes: int, num_nearest: int) -> None:
        self.distance = torch.full((num_prototypes, num_nearest), torch.inf)
        self.image = torch.full((num_prototypes, num_nearest), -1)
        self.cell, self.label = torch.full_like(self.image, -1), torch.full_like(self.image, -1)

    @torch.no_grad()
    def update(self, distances: Tensor, cell_labels: Tensor, labels: Tensor, proto_class: Tensor, image: int) -> None:
        """Update the search with one image; images must come in ascending order.

        Args:
            distances (Tensor): Squared distances to all prototypes, shape (P, h, w).
            cell_labels (Tensor): Labels at the cells, shape (h, w); negative is void.
            labels (Tensor): Labels of the pixels, shape (H, W); negative is void.
            proto_class (Tensor): Class of each prototype, shape (P,).
            image (int): Index of the image.
        """
        void = (cell_labels < 0).flatten()
        flat = distances.flatten(1).masked_fill(void, torch.inf)
        cell = flat.argmin(1).cpu()
        value = flat.amin(1).cpu()
        size, labels = distances.shape[-2:], labels.cpu()
        for prototype in (value < self.distance[:, -1]).nonzero().flatten().tolist():
            label = hit_label(labels, int(cell[prototype]), size, int(proto_class[prototype]))
            place = int((self.distance[prototype] <= value[prototype]).sum())
            for name, entry in dict(distance=value[prototype], image=image, cell=cell[prototype], label=label).items():
                row = getattr(self, name)[prototype]
                row[place + 1:] = row[place:-1].clone()
                row[place] = entry


def hit_label(labels: Tensor, cell: int, size: Sequence[int], class_id: int) -> int:
    """Label a cell's block of pixels: a wanted class if present, else the most frequent label.

    Args:
        labels (Tensor): Shape (H, W), int64; negative is void.
        cell (int): In raster order on the grid.
        size (Sequence[int]): (h, w) of the grid.
        class_id (int): The wanted class.
    """
    rows, cols = (slice(int(i * step), max(int((i + 1) * step), int(i * step) + 1))
                  for i, step in zip(divmod(cell, size[1]), (labels.shape[0] / size[0], labels.shape[1] / size[1])))
    values, counts = labels[rows, cols].unique(return_counts=True)
    return class_id if bool((values == class_id).any()) else int(values[counts.argmax()])
