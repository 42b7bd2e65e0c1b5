"""Pooling and linear layers: the end of ResNet and of VGG."""
from typing import Optional, Sequence, Union

from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class PooledClassifier(BaseModule):
    """Classify by global average pooling and one linear layer, as ResNet.

    Args:
        in_channels (int): Channels of the backbone's last map.
        num_classes (int): K.
        init_cfg (dict, optional): Initialization; that of PyTorch's linear layer by default.
    """

    def __init__(self, in_channels: int, num_classes: int, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        """Layers that relevance passes, in order."""
        return [('pool', self.pool), ('fc', self.fc)]

    def forward(self, x: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Classify.

        Args:
            x (Tensor | Sequence[Tensor]): Maps; the last one, shape (N, C, h, w), is used.

        Returns:
            Tensor: Logits, shape (N, K).
        """
        x = x if isinstance(x, Tensor) else x[-1]
        return self.fc(self.pool(x).flatten(1))


@MODELS.register_module()
class VGGClassifier(BaseModule):
    """Classify by adaptive pooling to 7 x 7 and three linear layers, as VGG, for images of any size from 32 pixels.

    The first two layers have the names of MMPretrain's VGG, whose weights fit:
    ``hidden_init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.classifier.')``.

    Args:
        num_classes (int): K.
        in_channels (int): Channels of the backbone's last map.
        channels (int): Width of the hidden layers.
        hidden_init_cfg (dict, optional): Initialization of the first two layers.
        init_cfg (dict, optional): Initialization of the whole.
    """

    min_size = 32
    """Pixels that the five poolings of VGG need."""

    def __init__(self, num_classes: int, in_channels: int = 512, channels: int = 4096,
                 hidden_init_cfg: Optional[dict] = None, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.classifier = Sequential(
            nn.Linear(49 * in_channels, channels), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Dropout(), init_cfg=hidden_init_cfg)
        self.fc = nn.Linear(channels, num_classes)

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        """Layers that relevance passes, in order."""
        hidden = [(f'classifier.{i}', self.classifier[i]) for i in (0, 3)]
        return [('pool', self.pool), *hidden, ('fc', self.fc)]

    def forward(self, x: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Classify.

        Args:
            x (Tensor | Sequence[Tensor]): Maps; the last one, shape (N, C, h, w), is used.

        Returns:
            Tensor: Logits, shape (N, K).
        """
        x = x if isinstance(x, Tensor) else x[-1]
        return self.fc(self.classifier(self.pool(x).flatten(1)))
