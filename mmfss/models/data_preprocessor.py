"""Data preprocessor that turns uint8 episodes into normalized batches."""
from typing import Any, Sequence, Union

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import StackedSamples


@MODELS.register_module()
class EpisodeDataPreProcessor(BaseDataPreprocessor):
    """Normalize and stack the images of a batch of episodes on the model's device.

    Args:
        mean (Sequence[float]): Mean per channel, for pixels in 0..255. Defaults to ImageNet's, RGB.
        std (Sequence[float]): Standard deviation per channel. Defaults to ImageNet's, RGB.
        bgr_to_rgb (bool): Reverse the channels first. Defaults to True: pipelines load BGR, networks expect RGB.
        non_blocking (bool): Copy to the device without waiting, which only matters where memory is pinned. Defaults to
            True.
    """

    def __init__(self,
                 mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375),
                 bgr_to_rgb: bool = True,
                 non_blocking: bool = True) -> None:
        super().__init__(non_blocking)
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f'mean and std must have 3 values each, got mean={mean}, std={std}.')
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Stack and normalize one batch.

        Args:
            data (dict): ``inputs``: ``query``, B images (3, H, W), and ``support``, B tensors (N, K, 3, H, W), 0..255;
                ``data_samples``: B elements, or None. Or all of them stacked, by :func:`stack_episodes`.
            training (bool): Not used: episodes are not padded or augmented here.

        Returns:
            dict: ``inputs`` with ``query`` (B, 3, H, W) and ``support`` (B, N, K, 3, H, W), and ``data_samples``.

        Raises:
            ValueError: If the images of the batch differ in size.
        """
        data = self.cast_data(data)
        inputs = {name: self.normalize(self._stack(name, images)) for name, images in data['inputs'].items()}
        samples = data.get('data_samples')
        if isinstance(samples, StackedSamples):
            samples = samples.to(self.device, self._non_blocking).split()
        return dict(inputs=inputs, data_samples=samples)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize images (..., 3, H, W) with values 0..255."""
        if self.bgr_to_rgb:
            images = images.flip(-3)
        return (images.float() - self.mean) / self.std

    @staticmethod
    def _stack(name: str, images: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        if isinstance(images, Tensor):
            return images
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise ValueError(f'The {name} images of a batch must have one shape, got {sorted(shapes)}. Resize them to '
                             'one size in the pipeline, or use batch_size=1.')
        return torch.stack(list(images))
