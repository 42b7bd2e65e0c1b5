"""ScaleProtoSeg, stage 1: multi-scale prototypes and a nearly fixed last layer (Porta et al., WACV 2025)."""
import torch
from torch import Tensor

from mmfss.registry import MODELS
from ..layers.prototypes import LastLayer, joined_similarities, log_similarity, matmul_maps
from ..losses import ClassRegions, PrototypeEvidence
from .logit_reading import LogitReading
from .prototype_head import PrototypeHead


@MODELS.register_module()
class ScaleProtoHead(PrototypeHead):
    """Combine the similarities to all prototypes linearly into logits, l = W a.

    W, shape (C, P), starts with 1 between a class and its own prototypes and ``off_class_weight`` elsewhere; it is only
    trained after the push. The published settings: ``regularizers=[dict(type='JeffreysDiversityLoss',
    loss_weight=0.25), dict(type='OffClassL1Loss', loss_weight=1e-4)]``.

    Args: See :class:`PrototypeHead`.

    Example:
        >>> import torch
        >>> from mmfss.models import ScaleProtoHead
        >>> head = ScaleProtoHead(
        ...     in_channels=8, num_classes=3, scale_channels=4, dilations=(1, 2), prototypes_per_scale=5,
        ...     regularizers=[dict(type='JeffreysDiversityLoss')]).eval()
        >>> inputs = [torch.rand(1, 8, 16, 16)]  # of a backbone
        >>> head(inputs).shape
        torch.Size([1, 3, 16, 16])
        >>> head.read(head.features(inputs)).similarities.shape  # 3 classes x 2 scales x 5 prototypes
        torch.Size([30, 16, 16])
    """

    def classify(self, features: Tensor) -> Tensor:
        logits = None
        for scale, _, distances in self.scale_distances(features):
            # Add one scale at a time: the similarities of all prototypes are never held together.
            part = self._logits(scale, log_similarity(distances, self.epsilon))
            logits = part if logits is None else logits.add_(part) if not part.requires_grad else logits + part
        return logits

    def explain_logits(self, distances: list[Tensor], regions: ClassRegions) -> tuple[Tensor, PrototypeEvidence]:
        logits = sum(self._logits(scale, log_similarity(d, self.epsilon)) for scale, d in enumerate(distances))
        weight = self.classifier.weight
        return logits, PrototypeEvidence(distances, self._table, regions, weight, self.own_prototypes, self.epsilon)

    @torch.no_grad()
    def read(self, features: Tensor) -> LogitReading:
        similarities = joined_similarities(self.distances(features), self.epsilon)[0].double()
        logits = (self.classifier.weight.double() @ similarities.flatten(1)).unflatten(1, similarities.shape[1:])
        return LogitReading(self, similarities, logits)

    def _logits(self, scale: int, similarities: Tensor) -> Tensor:
        return matmul_maps(self.classifier.weight[:, self.scale_slices[scale]], similarities)

    def _build_classifier(self) -> None:
        self.classifier = LastLayer(self.num_classes)

    def _reset_classifier(self) -> None:
        self.classifier.weight.data = self.initial_weights(self.own_prototypes)

    def _keep_in_classifier(self, index: Tensor) -> None:
        self.classifier.weight.data = torch.clone(self.classifier.weight.data[:, index])
