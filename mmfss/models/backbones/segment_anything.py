"""Segment Anything (SAM), from the package segment-anything: masks of points, boxes and coarse masks."""
from typing import Any, Iterator, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS
from ..layers import resize_unaligned

# Channels, blocks, heads, blocks with global attention.
ARCHITECTURES = dict(
    vit_b=dict(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)),
    vit_l=dict(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23)),
    vit_h=dict(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31)))
SIDE, PATCH, WIDTH = 1024, 16, 256
MASK_SIDE = SIDE // 4
"""Side of a mask that SAM takes as a prompt."""


@MODELS.register_module()
class SegmentAnything(BaseModule):
    """Segment what points, boxes and coarse masks of an image show (Kirillov et al., "Segment Anything", ICCV 2023).

    The image is encoded once; prompts are cheap. Parameters are named as in the published files, such as
    ``sam_vit_h_4b8939.pth`` (Apache-2.0): ``init_cfg=dict(type='Pretrained', checkpoint=...)``. The module is frozen.

    Args:
        arch (str | dict): ``'vit_b'``, ``'vit_l'`` or ``'vit_h'``, or ``embed_dim``, ``depth``, ``num_heads`` and
            ``global_attn_indexes`` of an image encoder. Defaults to ``'vit_h'``.
        mean (Sequence[float]): Mean colour that images were normalized with. Defaults to ImageNet's.
        std (Sequence[float]): Its standard deviation.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ModuleNotFoundError: If the package is missing; it says what installs it.
        ValueError: If the architecture is unknown.
    """

    def __init__(self,
                 arch: Union[str, dict[str, Any]] = 'vit_h',
                 mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375),
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if isinstance(arch, str) and arch not in ARCHITECTURES:
            raise ValueError(f'SegmentAnything: arch must be one of {", ".join(ARCHITECTURES)}, or a dict of the image '
                             f'encoder, got {arch!r}.')
        self.image_encoder, self.prompt_encoder, self.mask_decoder = _build(
            ARCHITECTURES[arch] if isinstance(arch, str) else arch)
        for name, values in dict(mean=mean, std=std, own_mean=(123.675, 116.28, 103.53),
                                 own_std=(58.395, 57.12, 57.375)).items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'SegmentAnything':
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Encode normalized images.

        Args:
            images (Tensor): Shape (B, 3, H, W). They are turned back into pixels, whole numbers, and the longer side is
                resized to 1024.

        Returns:
            Tensor: Shape (B, 256, 64, 64).
        """
        # Pixel values are truncated; they are whole numbers but for the rounding of the normalization.
        pixels = (images * self.std + self.mean + 1e-3).floor().clamp(0, 255)
        pixels = resize_unaligned(pixels, scaled_size(images.shape[-2:]), antialias=True)
        pixels = (pixels - self.own_mean) / self.own_std
        height, width = pixels.shape[-2:]
        return self.image_encoder(F.pad(pixels, (0, SIDE - width, 0, SIDE - height)))

    def masks_of_points(self, embedding: Tensor, points: Tensor, size: Sequence[int],
                        batch_size: int = 64) -> Iterator[Tensor]:
        """Segment one object for each point.

        Args:
            embedding (Tensor): Of one image, (1, 256, 64, 64).
            points (Tensor): Pixels (x, y) of the image, shape (N, 2).
            size (Sequence[int]): Size (H, W) of the image.
            batch_size (int): Points handled at a time.

        Yields:
            Tensor: Masks of up to ``batch_size`` points, boolean, (n, H, W).
        """
        for part in points.split(batch_size):
            labels = torch.ones(len(part), 1, device=part.device)
            logits = self.decode(embedding, size, points=(self._scaled(part, size)[:, None], labels))
            yield logits[:, 0] > 0

    @torch.no_grad()
    def decode(self, embedding: Tensor, size: Sequence[int], points: Optional[tuple[Tensor, Tensor]] = None,
               boxes: Optional[Tensor] = None, masks: Optional[Tensor] = None) -> Tensor:
        """Decode prompts into logits (N, 1, H, W); prompts are at SAM's own scale.

        Args:
            embedding (Tensor): Of one image, (1, 256, 64, 64).
            size (Sequence[int]): Size (H, W) of the image.
            points (tuple[Tensor, Tensor], optional): Coordinates (N, P, 2) and labels (N, P).
            boxes (Tensor, optional): Corners (x0, y0, x1, y1), (N, 4).
            masks (Tensor, optional): Logits (N, 1, 256, 256).
        """
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        logits, _ = self.mask_decoder(
            image_embeddings=embedding, image_pe=self.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=False)
        height, width = scaled_size(size)
        return resize_unaligned(resize_unaligned(logits, (SIDE, SIDE))[..., :height, :width], size)

    def refine(self, embedding: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
        """Segment again what a coarse mask covers, from its box and its logits.

        Args:
            embedding (Tensor): Of one image, (1, 256, 64, 64).
            logits (Tensor): Above 0 in the mask, shape (H, W).
            mask (Tensor): The coarse mask, boolean, not empty, shape (H, W).

        Returns:
            Tensor: Refined mask, boolean, (H, W).
        """
        size = tuple(logits.shape)
        rows, columns = mask.nonzero().unbind(1)
        corners = torch.stack((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)).view(2, 2)
        # The prompt has the layout of the padded image.
        height, width = scaled_size(size)
        prompt = resize_unaligned(logits[None, None].float(), (height // 4, width // 4))
        prompt = F.pad(prompt, (0, MASK_SIDE - width // 4, 0, MASK_SIDE - height // 4), value=float(logits.min()))
        refined = self.decode(embedding, size, boxes=self._scaled(corners, size).view(1, 4), masks=prompt)
        return refined[0, 0] > 0

    def segment(self, embedding: Tensor, size: Sequence[int], box: Optional[Sequence[float]] = None,
                points: Sequence[Sequence[float]] = (), background: Sequence[Sequence[float]] = ()) -> Tensor:
        """Segment one object that a user points at.

        Args:
            embedding (Tensor): Of one image, (1, 256, 64, 64).
            size (Sequence[int]): Size (H, W) of the image.
            box (Sequence[float], optional): Its corners (x0, y0, x1, y1), in pixels.
            points (Sequence[Sequence[float]]): Pixels (x, y) on it.
            background (Sequence[Sequence[float]]): Pixels (x, y) that are not on it.

        Returns:
            Tensor: Mask, boolean, (H, W).

        Raises:
            ValueError: If there is neither a box nor a point.
        """
        if box is None and not len(points):
            raise ValueError('SAM needs a box, or a point on the object.')
        prompts: dict[str, Any] = {}
        if box is not None:
            prompts['boxes'] = self._scaled(embedding.new_tensor(box).view(2, 2), size).view(1, 4)
        if len(points) or len(background):
            pixels = embedding.new_tensor([*points, *background])
            labels = embedding.new_tensor([1.] * len(points) + [0.] * len(background))
            prompts['points'] = self._scaled(pixels, size)[None], labels[None]
        return self.decode(embedding, size, **prompts)[0, 0] > 0

    @staticmethod
    def _scaled(points: Tensor, size: Sequence[int]) -> Tensor:
        """Scale pixels (x, y) of an image of ``size`` to SAM's."""
        height, width = scaled_size(size)
        return points * points.new_tensor([width / size[1], height / size[0]], dtype=torch.float32)


def scaled_size(size: Sequence[int]) -> tuple[int, int]:
    """Return the size (H, W) at which SAM sees an image: its longer side is 1024."""
    scale = SIDE / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def _build(encoder: dict[str, Any]) -> tuple[BaseModule, ...]:
    """Build SAM's three parts."""
    try:
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'SegmentAnything needs the package segment-anything: pip install "mmfss[sam]"',
            name='segment_anything') from error
    grid = SIDE // PATCH
    return (
        ImageEncoderViT(
            img_size=SIDE, patch_size=PATCH, mlp_ratio=4, norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
            qkv_bias=True, use_rel_pos=True, window_size=14, out_chans=WIDTH, **encoder),
        PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(grid, grid), input_image_size=(SIDE, SIDE), mask_in_chans=16),
        MaskDecoder(
            num_multimask_outputs=3, transformer_dim=WIDTH, iou_head_depth=3, iou_head_hidden_dim=WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8)),
    )
