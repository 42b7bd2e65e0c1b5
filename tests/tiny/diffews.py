"""The tiny networks of the reference numbers of DiffewS."""
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmfss.models import DiffewsSegmentor
from mmfss.registry import MODELS, register_all_modules
from tests.references.seeded import seeded_array, seeded_state_dict

DATA = Path(__file__).parents[1] / 'data' / 'diffews'
UNET = dict(
    sample_size=16, in_channels=4, out_channels=4, down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'),
    up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'), block_out_channels=(32, 64), layers_per_block=1,
    cross_attention_dim=32, attention_head_dim=(2, 4), norm_num_groups=8, use_linear_projection=True)
VAE = dict(
    in_channels=3, out_channels=3, latent_channels=4, down_block_types=('DownEncoderBlock2D', ) * 2,
    up_block_types=('UpDecoderBlock2D', ) * 2, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
    sample_size=32)
ATTENTION_GAINS = [('*attn1.to_q.weight', 1.6), ('*attn1.to_k.weight', 1.6)]
VAE_GAINS = [('encoder.conv_out.weight', 5.)]


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f'{name}.npz') as file:
        return dict(file)


def seed_module(module: nn.Module, manifest: str, seed: int, gains: list[tuple[str, float]]) -> None:
    """Give a network the weights of the reference; its names must be those of the manifest."""
    shapes = json.loads((DATA / f'manifest_{manifest}.json').read_text())
    assert {name: list(x.shape) for name, x in module.state_dict().items()} == shapes
    module.load_state_dict({name: torch.from_numpy(x) for name, x in seeded_state_dict(shapes, seed, gains).items()})


def build_diffews(seed: int = 0, **options: Any) -> DiffewsSegmentor:
    """Build the model in eval mode, with the weights and the text embedding of the reference."""
    register_all_modules(init_default_scope=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(dict(dict(type='DiffewsSegmentor', vae=VAE, unet=UNET, text_tokens=(2, 2)), **options))
    seed_module(model.unet, 'unet', seed, ATTENTION_GAINS)
    seed_module(model.vae, 'vae', seed + 1, VAE_GAINS)
    model.text_embed[:, :2] = tensor('text', (1, 2, 32), seed)[:, :model.text_embed.shape[1]]
    return model.eval()


def tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded_array(name, shape, seed))
