"""A few-shot model with its supports inside: an ordinary segmentation model."""
import copy
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mmfss.apis import EncodedSupport, FewShotInferencer
from mmfss.datasets.transforms.resize import ResizeEpisodeImage
from mmfss.utils.device import device_of
from mmfss.version import __version__


class StandaloneModel(nn.Module):
    """Segment the classes of one support set in images of one size.

    The supports are encoded once. What is left takes normalized images and returns logits, so that it can be written
    as a graph of tensor operations. The model of the inferencer is copied.

    Letters: B images of H x W pixels, N classes.

    Args:
        inferencer (FewShotInferencer): Model on the CPU, and support set (:meth:`FewShotInferencer.set_support`).

    Attributes:
        size (tuple[int, int]): (H, W).
        classes (tuple[str, ...]): N names.
        form (str, optional): Name of the form, if it predicts otherwise than the whole model.

    Raises:
        ValueError: If there is no support set, the model is not on the CPU, it cannot be exported, or its pictures are
            not resized to one size.
    """

    def __init__(self, inferencer: FewShotInferencer) -> None:
        super().__init__()
        support = inferencer.support
        if support is None:
            raise ValueError('The inferencer has no support set, which would become part of the file: call set_support '
                             'first.')
        if device_of(inferencer.model).type != 'cpu':
            raise ValueError("Models are exported on the CPU: build the inferencer with device='cpu'.")
        self.classes = support.class_names
        self.size = _network_size(inferencer, support)
        self.model = copy.deepcopy(inferencer.model).eval()
        # Copied, so that a file holds nothing else of the memory that they are views of.
        self.encoding = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, support.encoding)
        self.num_negatives = support.num_negatives
        images = self.normalize([shot.network_image for shots in support.shots for shot in shots])
        with torch.no_grad():
            self.form: Optional[str] = self.model.use_exportable_form(images[0])

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, N+1, H, W), channel 0 background, of normalized images (B, 3, H, W)."""
        logits = self.model.match(self.model.extract_feat(images), self.encoding, self.size)
        if not self.num_negatives:
            return logits
        # Negative references compete with the classes.
        background, classes, negatives = logits.split((1, len(self.classes), self.num_negatives), dim=1)
        background = torch.maximum(background, negatives.amax(1, keepdim=True))
        return torch.cat((background, classes), dim=1)

    def normalize(self, images: list[Tensor]) -> Tensor:
        """Normalize images (3, H, W) with values 0..255, as pipelines give them: (B, 3, H, W)."""
        return self.model.data_preprocessor.normalize(torch.stack(images))

    def metadata(self) -> dict[str, Any]:
        """Return what a program must know to use the model; the values can be written as JSON."""
        preprocessor = self.model.data_preprocessor
        parts = [getattr(self.model, name) for name in ('backbone', 'head') if hasattr(self.model, name)]
        return dict(
            size=list(self.size),
            channels='RGB' if preprocessor.bgr_to_rgb else 'BGR',
            mean=preprocessor.mean.flatten().tolist(),
            std=preprocessor.std.flatten().tolist(),
            classes=['background', *self.classes],
            threshold=self.model.threshold,
            align_corners=self.model.align_corners,
            model=', '.join(type(part).__name__ for part in parts),
            form=self.form,
            mmfss=__version__)


def _network_size(inferencer: FewShotInferencer, support: EncodedSupport) -> tuple[int, int]:
    """Return the size (H, W) of all pictures, if the pipeline is one that a short script can repeat."""
    steps = inferencer.transform.transforms.transforms
    resize = steps[0] if len(steps) == 1 and isinstance(steps[0], ResizeEpisodeImage) else None
    if resize is None or resize.keep_ratio or resize.scale is None or resize.backend != 'pillow':
        names = ', '.join(type(step).__name__ for step in steps)
        raise ValueError(f'The test pipeline prepares pictures by {names}: an exported model needs one '
                         'ResizeEpisodeImage with a `scale` and without keep_ratio.')
    return tuple(support.shots[0][0].network_image.shape[-2:])
