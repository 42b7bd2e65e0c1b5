"""Any function of query, supports and masks as a few-shot segmentor."""
from importlib import import_module
from typing import Callable, Optional, Sequence, Union

import torch
from torch import Tensor

from mmfss.registry import MODELS
from ..features import FeaturePyramid
from ..layers import resize_aligned
from .base_few_shot_segmentor import BaseFewShotSegmentor, EpisodeInputs, SupportEncoding, SupportImages

SegmentationFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


@MODELS.register_module()
class BlackBoxSegmentor(BaseFewShotSegmentor):
    """Evaluate and explain a function that segments one class in a query from annotated supports.

    The test loop, the inferencer, perturbation explainers (occlusion, feature ablation, LIME) and all attribution
    metrics only call the function. Explainers by gradients work if it is differentiable. AffEx does not: it reads
    affinities.

    The function is called as ``function(query, supports, masks)`` for each class and query:

    - ``query``: image, shape (3, H, W), RGB, float, 0 to 1;
    - ``supports``: images of K shots, shape (K, 3, H, W), in the same form;
    - ``masks``: shape (K, H, W), 1 where the class is, else 0; values between in some perturbed versions.

    It returns the logit of the class, shape (h, w), foreground above 0; or logits of background and class, (2, h, w).
    They are resized bilinearly to the query. Several classes compete by their logits. It is called with its own
    autograd state, without reading anything else of the episode.

    Args:
        function (Callable | str): The function, or in config files where it is: ``'package.module:name'``. A
            ``torch.nn.Module`` becomes a part of the model: it moves to its device and is set to eval mode.
        batched (bool): Call the function with all queries of a batch: tensors have a first axis B, also the result.
            Defaults to False.
        threshold, data_preprocessor, init_cfg: See :class:`BaseFewShotSegmentor`.

    Raises:
        ValueError: If the function is not callable, or not found by its name.

    Example:
        >>> import torch
        >>> from mmfss.models import BlackBoxSegmentor
        >>> def nearest_colour(query, supports, masks):
        ...     inside = (supports * masks[:, None]).sum((0, 2, 3)) / masks.sum()
        ...     outside = (supports * (1 - masks[:, None])).sum((0, 2, 3)) / (1 - masks).sum()
        ...     distances = [(query - x[:, None, None]).norm(dim=0) for x in (inside, outside)]
        ...     return distances[1] - distances[0]
        >>> model = BlackBoxSegmentor(nearest_colour).eval()
        >>> masks = torch.zeros(2, 1, 5, 64, 64)
        >>> masks[..., :32] = 1
        >>> model.logits(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 5, 3, 64, 64), masks).shape
        torch.Size([2, 2, 64, 64])
    """

    training_free = True

    def __init__(self,
                 function: Union[SegmentationFunction, str],
                 batched: bool = False,
                 threshold: float = 0.5,
                 data_preprocessor: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(threshold, data_preprocessor, init_cfg)
        self.function = find_function(function) if isinstance(function, str) else function
        if not callable(self.function):
            raise ValueError('BlackBoxSegmentor: function must be callable with (query, supports, masks), got a '
                             f'{type(function).__name__}.')
        self.batched = batched

    def extract_feat(self, inputs: Tensor) -> FeaturePyramid:
        """Return the normalized images (B, 3, H, W) themselves, as a pyramid of one map."""
        return FeaturePyramid(((inputs, ), ))

    def encode_features(self, features: FeaturePyramid, masks: SupportImages) -> SupportEncoding:
        """Keep images (B, K, 3, H, W) and masks (B, K, H, W) of each way."""
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        parts = features.split([mask.shape[0] * mask.shape[1] for mask in masks])
        ways = tuple((part[0][0].unflatten(0, mask.shape[:2]), mask) for part, mask in zip(parts, masks))
        return SupportEncoding(ways, masks[0].shape[0])

    def way_logits(self, features: FeaturePyramid, encoding: SupportEncoding) -> list[Tensor]:
        queries = self._pictures(features[0][0])
        ways = []
        for images, masks in encoding.ways:
            inputs = [queries] + [x.expand(len(queries), *x.shape[1:]) for x in (self._pictures(images), masks)]
            results = [self.function(*inputs)] if self.batched else [self.function(*parts) for parts in zip(*inputs)]
            logits = torch.cat([self._checked(x if self.batched else x[None]) for x in results])
            ways.append(resize_aligned(logits, queries.shape[-2:]))
        return ways

    def _pictures(self, normalized: Tensor) -> Tensor:
        """Undo the normalization: RGB values 0 to 1."""
        preprocessor = self.data_preprocessor
        pictures = (normalized * preprocessor.std + preprocessor.mean) / 255
        return pictures if preprocessor.bgr_to_rgb else pictures.flip(-3)

    def _checked(self, result: Tensor) -> Tensor:
        """Return logits of background and foreground, (B, 2, h, w)."""
        if result.ndim == 3:
            result = torch.stack((-result / 2, result / 2), dim=1)
        if result.ndim != 4 or result.shape[1] != 2:
            batch = 'B, ' if self.batched else ''
            shape = tuple(result.shape if self.batched else result.shape[1:])
            raise ValueError(f'BlackBoxSegmentor: the function must return logits of shape ({batch}h, w) or '
                             f'({batch}2, h, w), got {shape}.')
        return result

    def loss(self, inputs: EpisodeInputs, data_samples: Sequence) -> dict[str, Tensor]:
        """Raise a ValueError: there is nothing to train."""
        raise ValueError('A BlackBoxSegmentor is not trained here: test it with tools/test.py.')


def find_function(name: str) -> SegmentationFunction:
    """Import a function by ``'package.module:name'``.

    Raises:
        ValueError: If there is no such module or function.
    """
    module, _, function = name.partition(':')
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f'BlackBoxSegmentor: function="{name}" cannot be imported ({error}): write '
                         "'package.module:name' of a module on the Python path.") from error
