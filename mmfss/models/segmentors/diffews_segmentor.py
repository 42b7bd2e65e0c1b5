"""DiffewS: a latent diffusion model as few-shot segmentor (Zhu et al., NeurIPS 2024, arXiv 2410.02369)."""
from contextlib import nullcontext
from typing import Any, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from mmfss.utils.diffusers_files import read_text_embedding
from ..backbones.diffusion import (
    Source,
    build_unet,
    build_vae,
    fused_attentions,
    unet_factor,
    use_checkpointing,
    vae_factor,
)
from ..backbones.kv_fusion import KVBank, LayerRecord, ReadPass, SupportsWritten, WritePass, running
from ..features import FeaturePyramid
from ..layers.soft_masks import MaskDecision
from ..pretrained import check_pretrained
from .base_few_shot_segmentor import (
    BaseFewShotSegmentor,
    EpisodeInputs,
    SupportEncoding,
    SupportImages,
    support_masks,
)
from .diffews_way import DiffewsWay

PRECISIONS = dict(float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)
KV_SAMPLES = ('none', 'train_length')


@MODELS.register_module()
class DiffewsSegmentor(BaseFewShotSegmentor):
    """Draw the mask of a query with a UNet that reads the annotated supports in its self-attention.

    Letters: B episodes, N ways, K shots, images of H x W pixels, latents of h x w.

    1. A frozen VAE turns images and masks (white on black) into latents.
    2. *Support pass.* The UNet reads the latents of each support and of its mask through ``conv_in_ref``, each support
       by itself, and leaves its keys and values of all self-attention layers: a :class:`KVBank`. The pass ends at the
       last of these layers.
    3. *Query pass.* The UNet reads the latents of the query through ``conv_in``. In every self-attention layer the
       query's tokens attend to their own keys and to the bank's, in one softmax.
    4. Minus the output is the latent of the query's mask: one step, without noise and scheduler. The VAE decodes it,
       and a threshold on its brightness decides, see :class:`MaskDecision`.

    No parameter is new but ``conv_in_ref``. In training the loss is the squared error of the mask's latent; all
    parameters of the UNet learn. Several queries of one support set cost one support pass; several classes cost a query
    pass each.

    The features of an image are its latents, one map (B, 4, h, w): the mean of the VAE's posterior, and in training a
    sample of it.

    Args:
        vae (dict | str): Arguments of diffusers' ``AutoencoderKL``, or a folder that holds its config and weights.
        unet (dict | str): The same of ``UNet2DConditionModel``, see
            :func:`~mmfss.models.backbones.diffusion.build_unet`.
        text_embed (str, optional): File of the text encoder's embedding of the empty prompt, (1, T, C) or (T, C), see
            :func:`~mmfss.utils.diffusers_files.read_text_embedding`. None: zeros, which a checkpoint may
            replace.
        text_tokens (Sequence[int]): Text tokens that the UNet reads in training and at test. Defaults to (77, 2), the
            padded prompt and the bare one, as in the released code.
        timestep (int): Time step that the UNet is told. Defaults to 1.
        decision (dict, optional): Options of :class:`MaskDecision`. By default the paper's relative threshold, 0.25.
        random_shots (bool): In training, draw for each batch how many of its K supports are used, 1 to K, and for each
            episode which (DiffewS-n). Defaults to False.
        kv_sample (str): ``'train_length'``: of several supports, keep at test as many keys and values in each layer as
            one support has, drawn at random (table 6 of the paper; a model trained with one shot meets the number it
            knows). Defaults to ``'none'``.
        kv_seed (int): Seed of that draw. Every support set draws anew from it, so that no result depends on another.
        bank_dtype (str, optional): Precision in which keys and values are kept: ``'float32'``, ``'float16'``,
            ``'bfloat16'``; None keeps that of the pass.
        vae_dtype (str, optional): Precision in which the VAE computes in training. Its weights stay as they are, so
            that predictions are exact. None: that of the images.
        checkpointing (bool): Compute the UNet's blocks again in the backward pass, which saves memory. The bank is kept
            until then. Defaults to False.
        threshold, data_preprocessor, init_cfg: See :class:`BaseFewShotSegmentor`. Images are scaled to [-1, 1] by
            default.
        train_cfg, test_cfg (dict, optional): Not used; accepted for compatibility with MMSegmentation.

    Raises:
        ImportError: If diffusers is not installed.
        ValueError: If an option is unknown, or VAE, UNet and text embedding do not fit together.

    Example:
        >>> import torch
        >>> from mmfss.registry import MODELS
        >>> model = MODELS.build(dict(
        ...     type='DiffewsSegmentor',
        ...     vae=dict(block_out_channels=(8, 8), down_block_types=('DownEncoderBlock2D', ) * 2,
        ...              up_block_types=('UpDecoderBlock2D', ) * 2, norm_num_groups=4),
        ...     unet=dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=8,
        ...               attention_head_dim=2, down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'),
        ...               up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D')))).eval()
        >>> support, masks = torch.rand(1, 1, 2, 3, 32, 32), torch.ones(1, 1, 2, 32, 32)  # 1-way 2-shot
        >>> with torch.no_grad():
        ...     encoding = model.encode_support(support, masks)
        ...     logits = model.logits(torch.rand(4, 3, 32, 32), encoding)  # one support pass, 4 queries
        >>> logits.shape
        torch.Size([4, 2, 32, 32])
        >>> bank, = encoding.ways
        >>> [tuple(keys.shape) for keys in bank.keys]  # tokens of both supports in each of 4 layers
        [(1, 512, 8), (1, 128, 16), (1, 512, 8), (1, 512, 8)]
    """

    def __init__(self,
                 vae: Source,
                 unet: Source,
                 text_embed: Optional[str] = None,
                 text_tokens: Sequence[int] = (77, 2),
                 timestep: int = 1,
                 decision: Optional[dict] = None,
                 random_shots: bool = False,
                 kv_sample: str = 'none',
                 kv_seed: int = 0,
                 bank_dtype: Optional[str] = None,
                 vae_dtype: Optional[str] = None,
                 checkpointing: bool = False,
                 threshold: float = 0.5,
                 data_preprocessor: Optional[dict] = None,
                 train_cfg: Optional[dict] = None,
                 test_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        signed = dict(type='EpisodeDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3)
        super().__init__(threshold, data_preprocessor or signed, init_cfg)
        if kv_sample not in KV_SAMPLES:
            raise ValueError(f'kv_sample must be one of {", ".join(KV_SAMPLES)}, got {kv_sample!r}.')
        self.vae = build_vae(vae).requires_grad_(False).eval()
        self.unet = build_unet(unet)
        self._check_parts()
        self.num_layers = len(fused_attentions(self.unet))
        self.register_buffer('text_embed', read_text_embedding(
            text_embed, max(text_tokens), self.unet.config.cross_attention_dim))
        self.text_tokens = tuple(text_tokens)
        self.timestep = timestep
        self.decision = MaskDecision(**(decision or {}))
        self.random_shots = random_shots
        self.kv_sample, self.kv_seed = kv_sample, kv_seed
        self.bank_dtype, self.vae_dtype = _precision('bank_dtype', bank_dtype), _precision('vae_dtype', vae_dtype)
        if checkpointing:
            use_checkpointing(self.unet)
        # With checkpointing the support pass runs to its end: a part that was cut off could not be computed again.
        self.stops_early = not checkpointing

    def _check_parts(self) -> None:
        latent, unet = self.vae.config.latent_channels, self.unet.config
        if (unet.in_channels, unet.out_channels) != (latent, latent):
            raise ValueError(f'The VAE has latents of {latent} channels, but the UNet reads {unet.in_channels} and '
                             f'draws {unet.out_channels}: set unet.in_channels and unet.out_channels to {latent}.')

    @property
    def factor(self) -> int:
        """Number that the sides of images must be multiples of: the VAE's factor times the UNet's."""
        return vae_factor(self.vae) * unet_factor(self.unet)

    def init_weights(self) -> None:
        """Initialize the weights; fail first if an ``init_cfg`` checkpoint is missing or does not match."""
        if not self.is_init:
            check_pretrained(self)
        super().init_weights()

    def train(self, mode: bool = True) -> 'DiffewsSegmentor':
        """Set the mode; the frozen VAE stays in eval mode."""
        super().train(mode)
        self.vae.eval()
        return self

    # VAE

    def extract_feat(self, inputs: Tensor) -> FeaturePyramid:
        """Compute the latents of images (B, 3, H, W) in [-1, 1]; no gradient, unless the images require one.

        Raises:
            ValueError: If a side is not a multiple of :attr:`factor`.
        """
        if any(side % self.factor for side in inputs.shape[-2:]):
            raise ValueError(f'Images of {inputs.shape[-2]} x {inputs.shape[-1]} pixels cannot be segmented: their '
                             f'sides must be multiples of {self.factor}, the factors of VAE ({vae_factor(self.vae)}) '
                             f'and UNet ({unet_factor(self.unet)}). Resize them in the pipeline, e.g. to 512 x 512.')
        return FeaturePyramid(((self.latents(inputs), ), ))

    def latents(self, images: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w): the mean, in training a sample."""
        precision = self.vae_dtype if self.training else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and images.requires_grad), _computing_in(
                precision, images.device):
            posterior = self.vae.encode(images).latent_dist
        return (posterior.sample() if self.training else posterior.mode()).float() * self.vae.config.scaling_factor

    def mask_latents(self, masks: Tensor) -> Tensor:
        """Encode masks (B, H, W) in [0, 1] as white on black, to latents (B, C, h, w)."""
        return self.latents((2 * masks - 1)[:, None].expand(-1, 3, -1, -1))

    def drawn(self, mask_latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to pictures (B, 3, H, W), black near -1 and white near 1."""
        return self.vae.decode(mask_latents / self.vae.config.scaling_factor).sample

    # UNet

    def encode_support(self,
                       support: SupportImages,
                       masks: SupportImages,
                       dtype: Optional[torch.dtype] = None,
                       device: Union[torch.device, str, None] = None) -> SupportEncoding:
        """Encode annotated supports once, for any number of queries; see :class:`KVBank` for the size.

        Args:
            support (Tensor | Sequence[Tensor]): See :meth:`BaseFewShotSegmentor.encode_support`.
            masks (Tensor | Sequence[Tensor]): See there.
            dtype (torch.dtype, optional): Precision in which keys and values are kept. Defaults to ``bank_dtype``.
            device (torch.device | str, optional): Where they are kept, e.g. ``'cpu'``. Defaults to the model's device.

        Returns:
            SupportEncoding: Takes the place of ``support`` and ``masks`` in :meth:`logits`.
        """
        encoding = super().encode_support(support, masks)
        return SupportEncoding(tuple(bank.to(device, dtype) for bank in encoding.ways), encoding.batch_size)

    def encode_features(self, features: FeaturePyramid, masks: SupportImages) -> SupportEncoding:
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        parts = features.split([mask.shape[0] * mask.shape[1] for mask in masks])
        banks = [self.write(part[0][0], self.mask_latents(mask.flatten(0, 1)), mask)
                 for part, mask in zip(parts, masks)]
        if self.kv_sample == 'train_length' and not self.training:
            banks = [bank.draw(self.kv_seed) if bank.num_shots > 1 else bank for bank in banks]
        return SupportEncoding(tuple(bank.to(dtype=self.bank_dtype) for bank in banks), masks[0].shape[0])

    def write(self, latents: Tensor, mask_latents: Tensor, masks: Tensor) -> KVBank:
        """Run the support pass.

        Args:
            latents (Tensor): Of B * K supports, the K of an episode together, (B * K, C, h, w).
            mask_latents (Tensor): Of their masks, of the same shape.
            masks (Tensor): Shape (B, K, H, W).

        Returns:
            KVBank: Keys and values of B support sets.
        """
        support_pass = WritePass(self.unet.conv_in_ref, self.num_layers, stop=self.stops_early)
        with running(support_pass):
            try:
                self._run(torch.cat((latents, mask_latents), dim=1))
            except SupportsWritten:
                pass
        return support_pass.bank(latents.shape[-2:], masks)

    def read(self,
             latents: Tensor,
             bank: Optional[KVBank],
             without: Optional[int] = None,
             records: Optional[list[LayerRecord]] = None) -> Tensor:
        """Run the query pass.

        Args:
            latents (Tensor): Of B queries, (B, C, h, w).
            bank (KVBank, optional): Of B support sets, or of one that serves all queries. None: the UNet by itself.
            without (int, optional): Number of a fused layer that does not read the bank.
            records (list, optional): Receives queries and own keys of every fused layer.

        Returns:
            Tensor: Latents of the masks of the queries, (B, C, h, w).
        """
        with running(None if bank is None else ReadPass(bank, without, records)):
            # With one step and all betas 1, the predicted original sample is minus the output (v-prediction).
            return -self._run(latents)

    def _run(self, sample: Tensor) -> Tensor:
        tokens = self.text_tokens[0 if self.training else 1]
        text = self.text_embed[:, :tokens].to(sample.dtype).expand(len(sample), -1, -1)
        return self.unet(sample, self.timestep, text, return_dict=False)[0]

    def way_logits(self, features: FeaturePyramid, encoding: SupportEncoding) -> list[Tensor]:
        return [self.mask_logits(self.read(features[0][0], bank)) for bank in encoding.ways]

    def mask_logits(self, mask_latents: Tensor) -> Tensor:
        """Decode latents of masks (B, C, h, w) to logits (B, 2, H, W): threshold and brightness."""
        return self.decision(self.drawn(mask_latents))

    def matched_ways(self, features: FeaturePyramid, encoding: SupportEncoding) -> list[DiffewsWay]:
        return [DiffewsWay(self, features[0][0], bank) for bank in encoding.ways]

    # Training

    def loss(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> dict[str, Tensor]:
        """Compute the squared error of the mask's latents, mean over ways and episodes; ignored pixels are background.

        All supports and queries of the batch are used.
        """
        target = torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in data_samples])
        support, masks = inputs['support'], support_masks(data_samples)
        if self.random_shots:
            support, masks = random_subset(support, masks)
        features, encoding = self.encode(inputs['query'], support, masks)
        losses = []
        for number, bank in enumerate(encoding.ways, start=1):
            wanted = self.mask_latents((target == number).to(inputs['query']))
            losses.append(F.mse_loss(self.read(features[0][0], bank).float(), wanted))
        return dict(loss_latent=torch.stack(losses).mean())


def random_subset(support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Draw k, uniform in 1..K and the same for the batch, and k of the K supports of each way of each episode.

    Args:
        support (Tensor): Shape (B, N, K, 3, H, W).
        masks (Tensor): Shape (B, N, K, H, W).

    Returns:
        tuple[Tensor, Tensor]: Shapes (B, N, k, 3, H, W) and (B, N, k, H, W).
    """
    batch, ways, shots = masks.shape[:3]
    count = int(torch.randint(1, shots + 1, ()))
    chosen = torch.rand(batch, ways, shots).argsort(-1)[..., :count].to(masks.device)
    rows = torch.arange(batch, device=masks.device)[:, None, None], torch.arange(ways, device=masks.device)[:, None]
    return support[(*rows, chosen)], masks[(*rows, chosen)]


def _precision(key: str, name: Optional[str]) -> Optional[torch.dtype]:
    if name is not None and name not in PRECISIONS:
        raise ValueError(f'{key} must be one of {", ".join(PRECISIONS)} or None, got {name!r}.')
    return None if name is None else PRECISIONS[name]


def _computing_in(precision: Optional[torch.dtype], device: torch.device) -> Any:
    return nullcontext() if precision is None else torch.autocast(device.type, precision)
