"""DiffewS: many queries of one support set, with supports encoded once or for every query."""
import time
from dataclasses import asdict, dataclass
from typing import Any, Callable

import torch

from mmfss.models import DiffewsSegmentor, SupportEncoding
from mmfss.registry import MODELS
from mmfss.utils.benchmark import Ratio, alternate, peak_extra_memory

Computation = Callable[[], Any]
SHOTS = 5
SCALE = 5
"""By which the widths of Stable Diffusion 2.1 are divided; layers and heads of 64 channels stay."""
VAE = dict(
    block_out_channels=(32, 64, 128, 128), down_block_types=('DownEncoderBlock2D', ) * 4,
    up_block_types=('UpDecoderBlock2D', ) * 4, layers_per_block=2, norm_num_groups=32)
UNET = dict(
    block_out_channels=(320 // SCALE, 640 // SCALE, 1280 // SCALE, 1280 // SCALE), layers_per_block=2,
    down_block_types=('CrossAttnDownBlock2D', ) * 3 + ('DownBlock2D', ),
    up_block_types=('UpBlock2D', ) + ('CrossAttnUpBlock2D', ) * 3, attention_head_dim=(1, 2, 4, 4),
    cross_attention_dim=1024 // SCALE, use_linear_projection=True)
DIFFEWS_PARTS = ('diffews', )
DIFFEWS_MEANING = f"""\
diffews    DiffewS in the shape of Stable Diffusion 2.1, a fifth as wide, 10 queries of one {SHOTS}-shot set, by
           side of the latents; reference: support and query pass for each query, measured: one support pass; UNet alone
diffews*   the same from images to logits, with a VAE at a fourth of its width"""


@dataclass(frozen=True)
class DiffewsSetting:
    """What is being measured.

    Attributes:
        side (int): Side of the latents; images are eight times as large.
        queries (int): Queries of one support set.
        whole (bool): From images to logits, or the UNet alone.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
    """
    side: int
    queries: int = 10
    whole: bool = False
    device: str = 'cpu'
    threads: int = 1


SIDES = ((32, False), (64, False), (32, True))
"""Sides of the latents, and whether the VAE is measured too."""


def build_model() -> DiffewsSegmentor:
    """Build the scaled model with random weights."""
    torch.manual_seed(0)
    return MODELS.build(dict(type='DiffewsSegmentor', vae=VAE, unet=UNET)).eval()


def passes(setting: DiffewsSetting) -> dict[str, Computation]:
    """The two computations, with their inputs ready."""
    model = build_model().to(setting.device)
    size, factor = setting.side, 8 if setting.whole else 1
    masks = (torch.rand(1, SHOTS, size * factor, size * factor, device=setting.device) > 0.5).float()

    def draw(*shape: int, channels: int) -> torch.Tensor:
        return torch.randn(*shape, channels, size * factor, size * factor, device=setting.device)

    if setting.whole:
        queries, support = draw(setting.queries, channels=3), draw(1, 1, SHOTS, channels=3)

        def encode() -> SupportEncoding:
            return model.encode_support(support, masks[:, None])

        def predict(query: torch.Tensor, encoding: SupportEncoding) -> torch.Tensor:
            return model.logits(query[None], encoding)
    else:
        queries, support = draw(setting.queries, channels=4), draw(2, SHOTS, channels=4)

        def encode() -> SupportEncoding:
            return SupportEncoding((model.write(*support, masks), ), 1)

        def predict(query: torch.Tensor, encoding: SupportEncoding) -> torch.Tensor:
            return model.read(query[None], encoding.ways[0])

    @torch.no_grad()
    def anew() -> list[torch.Tensor]:
        return [predict(query, encode()) for query in queries]

    @torch.no_grad()
    def once() -> list[torch.Tensor]:
        encoding = encode()
        return [predict(query, encoding) for query in queries]

    return dict(anew=anew, once=once)


def prepared_passes(name: str, setting: DiffewsSetting) -> Computation:
    """One computation, ready to be measured in a fresh process."""
    torch.set_num_threads(setting.threads)
    passes(DiffewsSetting(8, 1, setting.whole, setting.device))[name]()
    return passes(setting)[name]


def diffews_rows(parts: list[str], repeats: int, device: str, threads: int, queries: int = 10,
                 sides: tuple = SIDES) -> list[dict[str, Any]]:
    """Measure what ``parts`` asks for, as rows of the benchmark's table.

    Args:
        parts (list[str]): Parts of the benchmark; others are left out.
        repeats (int): Timed runs of each computation.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
        queries (int): Queries of one support set.
        sides (tuple): Pairs of a side of the latents, and whether the VAE is measured too.
    """
    rows = []
    clock = time.process_time if device == 'cpu' and threads == 1 else time.perf_counter
    for side, whole in sides if 'diffews' in parts else ():
        print(f'measuring diffews, latents of {side} x {side}{", from images to logits" if whole else ""} ...',
              flush=True)
        setting = DiffewsSetting(side, queries, whole, device, threads)
        seconds = alternate(passes(setting), repeats, device, clock)
        extra = {name: peak_extra_memory(prepared_passes, kind, setting, device=device)
                 for name, kind in (('reference', 'anew'), ('measured', 'once'))}
        rows.append(dict(
            part='diffews*' if whole else 'diffews', backbone=f'{side} x {side}', shots=SHOTS, **asdict(setting),
            seconds=dict(reference=seconds['anew'], measured=seconds['once']),
            time_ratio=asdict(Ratio.of(seconds['anew'], seconds['once'])), extra_bytes=extra,
            memory_ratio=extra['reference'] / max(1, extra['measured'])))
    return rows
