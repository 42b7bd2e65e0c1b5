"""Training of the VAE of a small latent diffusion model on images and masks."""
from typing import Literal, Optional, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from ..backbones.diffusion import Source, build_vae, vae_factor
from ..layers.soft_masks import MaskDecision
from .base_few_shot_segmentor import EpisodeInputs, add_predictions, support_masks


@MODELS.register_module()
class LatentAutoencoder(BaseModel):
    """Train the VAE of :class:`DiffewsSegmentor` on the images and masks of episodes.

    Stable Diffusion's VAE needs no training. A small model for a small dataset needs its own: this one learns to
    reproduce images, and masks drawn white on black. A checkpoint holds its weights under ``vae.``, as the segmentor
    names them.

    A prediction is the mask of the query after a round trip through the latents, so that a test measures, as mIoU, what
    the VAE costs.

    Args:
        vae (dict | str): See :class:`DiffewsSegmentor`.
        kl_weight (float): Weight of the divergence of the latents from a standard normal distribution, mean over their
            numbers. Defaults to 1e-3.
        mask_weight (float): Weight of the masks' squared error beside that of the images. Defaults to 1.
        decision (dict, optional): See :class:`DiffewsSegmentor`.
        data_preprocessor (dict, optional): Scales images to [-1, 1] by default.
    """

    def __init__(self,
                 vae: Source,
                 kl_weight: float = 1e-3,
                 mask_weight: float = 1.,
                 decision: Optional[dict] = None,
                 data_preprocessor: Optional[dict] = None) -> None:
        signed = dict(type='EpisodeDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3)
        super().__init__(MODELS.build(data_preprocessor or signed))
        self.vae = build_vae(vae)
        self.kl_weight, self.mask_weight = kl_weight, mask_weight
        self.decision = MaskDecision(**(decision or {}))

    def forward(self,
                inputs: EpisodeInputs,
                data_samples: list[EpisodeDataSample],
                mode: Literal['loss', 'predict'] = 'predict') -> Union[dict[str, Tensor], list[EpisodeDataSample]]:
        """Compute the losses, or add the round trip of the query's mask to the samples as prediction."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f'An autoencoder has losses and predictions, but mode={mode!r} was asked for.')

    def loss(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> dict[str, Tensor]:
        """Compute squared errors of images and masks, and the divergence of the latents."""
        images = torch.cat((inputs['query'], inputs['support'].flatten(0, 2)))
        pictures = torch.cat((_pictures(_targets(data_samples)), _pictures(support_masks(data_samples).flatten(0, 2))))
        wanted = torch.cat((images, pictures.to(images)))
        posterior = self.vae.encode(wanted).latent_dist
        drawn = self.vae.decode(posterior.sample()).sample
        errors = F.mse_loss(drawn.float(), wanted, reduction='none').flatten(1).mean(1).split(len(images))
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return dict(loss_image=errors[0].mean(), loss_mask=self.mask_weight * errors[1].mean(),
                    loss_kl=self.kl_weight * divergence)

    @torch.no_grad()
    def predict(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> list[EpisodeDataSample]:
        """Add the masks of the queries after a round trip, as ``seg_logits`` and ``pred_sem_seg``."""
        pictures = _pictures(_targets(data_samples)).to(inputs['query'])
        factor = vae_factor(self.vae)
        if any(side % factor for side in pictures.shape[-2:]):
            raise ValueError(f'Images of {pictures.shape[-2]} x {pictures.shape[-1]} pixels cannot be encoded: sides '
                             f'must be multiples of {factor}.')
        drawn = self.vae.decode(self.vae.encode(pictures).latent_dist.mode()).sample
        return add_predictions(data_samples, self.decision(drawn))


def _targets(data_samples: list[EpisodeDataSample]) -> Tensor:
    """Return where the queries show the first class, (B, H, W)."""
    return torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in data_samples]) == 1


def _pictures(masks: Tensor) -> Tensor:
    """Draw masks (B, H, W) white on black, (B, 3, H, W)."""
    return (2 * masks.float() - 1)[:, None].expand(-1, 3, -1, -1)
