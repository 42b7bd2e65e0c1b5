"""Controls that do not use the model. An explanation has to score better than these."""
import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from .base import Explainer
from .scaling import scale_q
from .seeding import episode_generator


@EXPLAINERS.register_module(name='random')
class RandomControl(Explainer):
    """Control: uniform noise in [0, 1), not scaled.

    Args:
        seed (int): Seed. Defaults to 0.
    """

    own_copy = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        noise = episode_generator(episode, self.seed).random(tuple(episode.masks.shape), dtype='float32')
        return torch.from_numpy(noise).to(episode.masks.device)


@EXPLAINERS.register_module(name='gaussian_noise')
class GaussianNoiseControl(Explainer):
    """Control: the support mask with a little Gaussian noise, scaled by :func:`scale_q`.

    The published comparison's "Gaussian Noise Mask". A strong control: it highlights the annotated object, in no
    order.

    Args:
        mean (float): Mean of the noise. Defaults to 0.
        std (float): Standard deviation of the noise. Defaults to 0.01.
        seed (int): Seed. Defaults to 0.
    """

    own_copy = False

    def __init__(self, mean: float = 0., std: float = 0.01, seed: int = 0) -> None:
        self.mean = mean
        self.std = std
        self.seed = seed

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        noise = episode_generator(episode, self.seed).normal(self.mean, self.std, tuple(episode.masks.shape))
        return scale_q(episode.masks + torch.from_numpy(noise).to(episode.masks))
