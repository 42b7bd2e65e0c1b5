"""Base class of both stages of ScaleProtoSeg: segmentation with prototypes at several scales."""
from abc import abstractmethod
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import accuracy
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.checkpoint import CheckpointError
from ..layers.prototypes import (
    ConcatenatedASPP,
    class_table,
    downsample_labels,
    log_similarity,
    prototype_table,
    read_layout,
    squared_distances,
)
from ..losses import ClassRegions, PrototypeEvidence
from .logit_reading import LogitReading

Features = Sequence[Tensor]
SCALE_MIXINGS = (None, 'sum', 'mult', 'concat')


class PrototypeHead(BaseDecodeHead):
    """Compare a backbone's cells with learned prototypes at S scales.

    Letters: B images, S scales of D channels, C classes, P prototypes, feature grid h x w.

    Each scale is a dilated convolution of the backbone's map, squashed into the unit cube: z = sigmoid(ASPP(x)), shape
    (B, S * D, h, w), channels s D to (s + 1) D - 1 of scale s. A prototype belongs to one class and one scale; it is
    compared with the channels of its scale only, by squared distance d and similarity a = log((d + 1) / (d + epsilon)).
    Subclasses define how similarities become logits. Prototypes are ordered by scale, and within a scale by class.

    Distances, similarities and logits are computed in float32, under autocast too. The number of prototypes follows the
    checkpoint that is loaded: push and pruning change it.

    Inputs of several resolutions (a list with one pyramid of features for each, the full one first, as
    :class:`ScaleProtoSegmentor` makes it) are combined by the maximum of their ASPP maps at the full resolution's grid;
    in training each is also a sample of its own.

    Args:
        in_channels (int | Sequence[int]): Channels of the backbone's map.
        num_classes (int): C.
        scale_channels (int): D.
        dilations (Sequence[int]): Dilation of each of the S scales.
        prototypes_per_scale (int): Prototypes of a class at a scale, M.
        epsilon (float): Of the similarity.
        off_class_weight (float): Initial weight between a class and what belongs to another; 1 within a class.
        scale_mixing (str, optional): ``'sum'``, ``'mult'`` or ``'concat'``: mix a scale's features with the prototypes
            found at the next larger scale, weighted by similarity. Not used by the published configs.
        loss_decode (dict | Sequence[dict], optional): Loss of the logits; cross entropy, void left out, by default.
        regularizers (Sequence[dict]): Further terms, see :mod:`mmfss.models.losses`.
        label_downsample (bool): Learn on the feature grid, labels brought down to it. False brings the logits up.
        layout_from (str, optional): Checkpoint from which to read number, classes and scales of the prototypes when the
            head is built. Only training in several processes needs it: they must know all sizes from the start.
        **kwargs: See MMSegmentation's ``BaseDecodeHead``.

    Raises:
        ValueError: If an argument is out of range.
        CheckpointError: If ``layout_from`` holds no prototypes, or those of other classes or scales.
    """

    def __init__(self,
                 in_channels: Union[int, Sequence[int]],
                 num_classes: int,
                 scale_channels: int = 64,
                 dilations: Sequence[int] = (6, 12, 18, 24),
                 prototypes_per_scale: int = 3,
                 epsilon: float = 1e-4,
                 off_class_weight: float = -0.5,
                 scale_mixing: Optional[str] = None,
                 loss_decode: Union[dict, Sequence[dict], None] = None,
                 regularizers: Sequence[dict] = (),
                 label_downsample: bool = True,
                 layout_from: Optional[str] = None,
                 **kwargs: Any) -> None:
        super().__init__(
            in_channels,
            scale_channels * len(dilations),
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=0,
            loss_decode=loss_decode or dict(type='CrossEntropyLoss', avg_non_ignore=True),
            init_cfg=None,
            **kwargs)
        for name, value in dict(prototypes_per_scale=prototypes_per_scale, scale_channels=scale_channels,
                                epsilon=epsilon).items():
            if value <= 0:
                raise ValueError(f'{type(self).__name__}: {name} must be above 0, got {value}.')
        if scale_mixing not in SCALE_MIXINGS:
            raise ValueError(f'{type(self).__name__}: scale_mixing must be one of {SCALE_MIXINGS}, '
                             f'got {scale_mixing!r}.')
        del self.conv_seg  # of the base class; logits come from prototypes
        self.num_scales, self.scale_channels = len(dilations), scale_channels
        self.epsilon, self.off_class_weight = epsilon, off_class_weight
        self.scale_mixing, self.label_downsample = scale_mixing, label_downsample
        self.regularizers = nn.ModuleList(MODELS.build(loss) for loss in regularizers)
        self._resized_on_load = False

        self.scale_convs = ConcatenatedASPP(self.in_channels, scale_channels, dilations)
        if scale_mixing == 'concat':
            self.scale_mixer = nn.Linear(2 * scale_channels, scale_channels)
        pairs = torch.cartesian_prod(torch.arange(self.num_scales), torch.arange(num_classes))
        proto_scale, proto_class = pairs.repeat_interleave(prototypes_per_scale, dim=0).unbind(1)
        self.prototypes = nn.Parameter(torch.zeros(0, scale_channels))
        self.register_buffer('proto_class', proto_class[:0])
        self.register_buffer('proto_scale', proto_scale[:0])
        self.register_buffer('proto_source', proto_class.new_empty(0, 4))
        for name in ('_table', '_members', '_classes'):
            self.register_buffer(name, proto_class[:0], persistent=False)
        self._build_classifier()
        self.set_layout(*(read_layout(layout_from) if layout_from else (proto_class, proto_scale)))

    # ------------------------------------------------------------------------------------------------ computation

    def embeddings(self, inputs: Union[Features, Sequence[Features]]) -> list[Tensor]:
        """Compute the ASPP maps before the sigmoid.

        Args:
            inputs (Sequence): Maps of the backbone, or a list of such, one for each input resolution.

        Returns:
            list[Tensor]: Maps of shape (B, S * D, h, w). A single resolution gives one map. Several give one map each,
            at its own grid, and last their maximum at the grid of the first. The last map is used for prediction.
        """
        if isinstance(inputs[0], Tensor):
            return [self.scale_convs(self._transform_inputs(inputs))]
        maps = [self.scale_convs(self._transform_inputs(features)) for features in inputs]
        if len(maps) == 1:
            return maps
        combined = maps[0]
        for smaller in maps[1:]:
            enlarged = F.interpolate(smaller, maps[0].shape[-2:], mode='bilinear', align_corners=False)
            combined = torch.maximum(combined, enlarged)
        return [*maps, combined]

    def features(self, inputs: Union[Features, Sequence[Features]]) -> Tensor:
        """Compute the features z in (0, 1) that are compared with the prototypes, (B, S * D, h, w), float32."""
        return self.embeddings(inputs)[-1].float().sigmoid()

    def scale_distances(self, features: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Compare features with the prototypes scale by scale, from the largest dilation down.

        Args:
            features (Tensor): z, shape (B, S * D, h, w).

        Yields:
            tuple[int, Tensor, Tensor]: Scale s, its features (B, D, h, w), its squared distances (B, P_s, h, w).
        """
        found: Optional[Tensor] = None
        for scale in reversed(range(self.num_scales)):
            own = features[:, scale * self.scale_channels:(scale + 1) * self.scale_channels]
            vectors = self.prototypes[self.scale_slices[scale]]
            if found is not None:
                own = self._mix(own, found)
            distances = squared_distances(own, vectors)
            if self.scale_mixing is not None:
                similarities = log_similarity(distances, self.epsilon)
                found = torch.einsum('bphw,pd->bdhw', similarities, vectors)
            yield scale, own, distances

    def _mix(self, own: Tensor, found: Tensor) -> Tensor:
        if self.scale_mixing == 'sum':
            return (own + found) / 2
        if self.scale_mixing == 'mult':
            return (own * found).sqrt()
        return self.scale_mixer(torch.cat((own, found), dim=1).movedim(1, -1)).sigmoid().movedim(-1, 1)

    def distances(self, features: Tensor) -> list[Tensor]:
        """Compute the squared distances of all scales, a list of S tensors (B, P_s, h, w), scale 0 first."""
        return [distances for _, _, distances in sorted(self.scale_distances(features), key=lambda entry: entry[0])]

    def scale_features(self, features: Tensor) -> Tensor:
        """Return the features that are compared with the prototypes of each scale.

        Args:
            features (Tensor): z, shape (B, S * D, h, w).

        Returns:
            Tensor: Shape (B, S, D, h, w): z itself unless scales are mixed.
        """
        if self.scale_mixing is None:
            return features.unflatten(1, (self.num_scales, self.scale_channels))
        by_scale = {scale: own for scale, own, _ in self.scale_distances(features)}
        return torch.stack([by_scale[scale] for scale in range(self.num_scales)], dim=1)

    def forward(self, inputs: Union[Features, Sequence[Features]]) -> Tensor:
        """Compute logits at the feature grid, (B, C, h, w)."""
        return self.classify(self.features(inputs))

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Compute logits (B, C, h, w) of features z (B, S * D, h, w), with as little memory as possible."""

    @abstractmethod
    def explain_logits(self, distances: list[Tensor], regions: ClassRegions) -> tuple[Tensor, PrototypeEvidence]:
        """Compute logits (B, C, h, w), and the evidence that the losses read."""

    @abstractmethod
    def read(self, features: Tensor) -> LogitReading:
        """Read the similarities and logits of one image, to be decomposed.

        Args:
            features (Tensor): z, see :meth:`features`, shape (1, S * D, h, w).

        Returns:
            LogitReading: Similarities and logits in float64.
        """

    # ------------------------------------------------------------------------------------------------ training

    def loss(self, inputs: Union[Features, Sequence[Features]], batch_data_samples: SampleList,
             train_cfg: Any = None) -> dict[str, Tensor]:
        """Compute the losses, averaged over the input resolutions and their maximum.

        Args:
            inputs (Sequence): See :meth:`embeddings`.
            batch_data_samples (list[SegDataSample]): With ``gt_sem_seg``.
            train_cfg (dict, optional): Not used.

        Returns:
            dict[str, Tensor]: Named losses and the accuracy ``acc_seg`` in per cent.
        """
        self._check_processes()
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        losses = [self.losses(maps.float().sigmoid(), labels) for maps in self.embeddings(inputs)]
        return {name: sum(entry[name] for entry in losses) / len(losses) for name in losses[0]}

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses at one resolution.

        Args:
            features (Tensor): z, shape (B, S * D, h, w).
            labels (Tensor): 0..C-1 or ``ignore_index``, shape (B, H, W), int64.

        Returns:
            dict[str, Tensor]: See :meth:`loss`.
        """
        target = downsample_labels(labels, features.shape[-2:])
        regions = ClassRegions.of(target.masked_fill(target == self.ignore_index, -1), self.num_classes)
        logits, evidence = self.explain_logits(self.distances(features), regions)
        if not self.label_downsample:
            target = labels
            logits = F.interpolate(logits, labels.shape[-2:], mode='bilinear', align_corners=self.align_corners)
        # Loss terms of the logits, then of the prototypes
        losses: dict[str, Tensor] = {}
        for term in self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]:
            value = term(logits, target, ignore_index=self.ignore_index)
            losses[term.loss_name] = losses.get(term.loss_name, 0) + value
        for term in self.regularizers:
            if term.loss_weight > 0:
                losses[term.loss_name] = losses.get(term.loss_name, 0) + term(evidence)
        losses['acc_seg'] = accuracy(logits, target, ignore_index=self.ignore_index)
        return losses

    def _check_processes(self) -> None:
        if self._resized_on_load and get_world_size() > 1:
            raise ValueError('The checkpoint has another number of prototypes than the model was built with. To train '
                             'it in several processes, set model.decode_head.layout_from to the checkpoint.')

    # ------------------------------------------------------------------------------------------------ prototypes

    @property
    def num_prototypes(self) -> int:
        """Number of prototypes, P."""
        return len(self.prototypes)

    @property
    def scale_table(self) -> Tensor:
        """Tensor: See :func:`mmfss.models.layers.prototypes.prototype_table`, shape (S, C, M)."""
        return self._table

    @property
    def own_prototypes(self) -> Tensor:
        """Tensor: Which prototypes belong to each class, shape (C, P), bool."""
        return self.proto_class == torch.arange(self.num_classes, device=self.proto_class.device)[:, None]

    @property
    def num_groups(self) -> int:
        """Groups per class; 0 for a head without groups."""
        return 0

    @property
    def used_prototypes(self) -> Tensor:
        """Tensor: Which prototypes take part in a logit, shape (P,), bool."""
        return torch.ones_like(self.proto_class, dtype=torch.bool)

    def class_prototypes(self, class_id: int) -> Tensor:
        """Return the indices of a class's prototypes, ascending, int64."""
        return (self.proto_class == class_id).nonzero().flatten()

    def filled_groups(self, class_id: int) -> int:
        """Count the groups of a class that have a prototype left."""
        return 0

    def set_layout(self, proto_class: Tensor, proto_scale: Tensor) -> None:
        """Start over with other prototypes: random vectors in the unit cube, initial weights.

        Parameters stay the same objects, so that an optimizer that was built before keeps them.

        Args:
            proto_class (Tensor): Class of each prototype, shape (P,), int64.
            proto_scale (Tensor): Its scale, ascending, shape (P,), int64.

        Raises:
            CheckpointError: If these are not prototypes of this head's classes and scales.
        """
        self._check_layout(proto_class, proto_scale)
        device = self.prototypes.device
        self.proto_class, self.proto_scale = (x.to(device, torch.int64).clone() for x in (proto_class, proto_scale))
        self.proto_source = self.proto_class.new_full((len(proto_class), 4), -1)
        self.prototypes.data = torch.rand(len(proto_class), self.scale_channels, device=device)
        self._refresh()
        self._reset_classifier()

    def keep_prototypes(self, index: Tensor) -> None:
        """Remove all prototypes except the given ones, which keep their values.

        Args:
            index (Tensor): Prototypes to keep, ascending, shape (P',), int64.
        """
        kept = index.to(self.prototypes.device)
        self._keep_in_classifier(kept)
        self.prototypes.data = self.prototypes.data[kept].clone()
        self.proto_class, self.proto_scale = self.proto_class[kept], self.proto_scale[kept]
        self.proto_source = self.proto_source[kept]
        self._refresh()

    def follow_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str = '') -> None:
        """Adopt the number, classes and scales of the prototypes in a state dict, if it has any.

        Args:
            state_dict (Mapping): Names to tensors.
            prefix (str): Name of this head in the model, with a dot.

        Raises:
            CheckpointError: If they are prototypes of other classes or scales.
        """
        layout = [state_dict.get(f'{prefix}{name}') for name in ('proto_class', 'proto_scale')]
        if any(entry is None for entry in layout):
            return
        own = (self.proto_class, self.proto_scale)
        if all(new.shape == old.shape and bool((new.to(old) == old).all()) for new, old in zip(layout, own)):
            return
        self.set_layout(*layout)
        self._resized_on_load = True

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        self.follow_state_dict(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _refresh(self) -> None:
        """Recompute which prototypes belong to which class and scale."""
        device = self.prototypes.device
        proto_class, proto_scale = self.proto_class.cpu(), self.proto_scale.cpu()
        self._table = prototype_table(proto_class, proto_scale, self.num_classes, self.num_scales).to(device)
        self._members = class_table(proto_class, self.num_classes).to(device)
        self._classes = proto_class.unique().to(device)
        ends = torch.bincount(proto_scale, minlength=self.num_scales).cumsum(0).tolist()
        self.scale_slices = [slice(start, end) for start, end in zip([0, *ends], ends)]

    def _check_layout(self, proto_class: Tensor, proto_scale: Tensor) -> None:
        for name, values, limit in (('class', proto_class, self.num_classes), ('scale', proto_scale, self.num_scales)):
            if values.dim() != 1 or (len(values) and not 0 <= int(values.min()) <= int(values.max()) < limit):
                raise CheckpointError(
                    f'The prototypes are of another model: their {name} reaches {int(values.max())}, this head has '
                    f'{limit} ({"num_classes" if name == "class" else "dilations"}).')
        if len(proto_class) != len(proto_scale) or not len(proto_class):
            raise CheckpointError(f'{len(proto_class)} classes and {len(proto_scale)} scales of prototypes: there must '
                                  'be as many of one as of the other, and at least one.')
        if bool((proto_scale.diff() < 0).any()):
            raise CheckpointError('The prototypes are not in the order of their scales.')

    @abstractmethod
    def _build_classifier(self) -> None:
        """Create the parameters that turn similarities into logits, of any size."""

    @abstractmethod
    def _reset_classifier(self) -> None:
        """Give them the size and the initial values for the present prototypes."""

    @abstractmethod
    def _keep_in_classifier(self, index: Tensor) -> None:
        """Remove the weights of removed prototypes."""

    def initial_weights(self, own: Tensor) -> Tensor:
        """Return initial weights of a last layer: 1 between a class and its own, else ``off_class_weight``."""
        return torch.where(own, 1., self.off_class_weight)
