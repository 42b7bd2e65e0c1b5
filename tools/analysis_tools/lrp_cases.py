"""Unrolled LRP beside a literal implementation: all maps of an image."""
import time
from collections import deque
from dataclasses import asdict
from functools import partial
from typing import Any, Callable

import torch
from torch import Tensor, nn

from mmfss.models import UnrolledLRPSegmentor
from mmfss.models.decode_heads.unrolled_lrp_head import start_relevance
from mmfss.models.relevance import (
    ConvShape,
    Layer,
    Recorded,
    RelevanceWalk,
    relprop_batchnorm,
    relprop_conv,
    relprop_linear,
)
from mmfss.utils.benchmark import Ratio, alternate, peak_extra_memory

Computation = Callable[[], Any]
LRP_PARTS = ('lrp', )
CLASSES = 21
CHUNKS = (1, 7)
SIZE = 256
LRP_MEANING = """\
lrp        image -> all 21 relevance maps of a ResNet-50, by classes decoded at once; reference: literally, class by
           class, with outputs computed anew and last batch norms run again; measured: this package
lrp_cost   reference: all 21 maps, forward pass included, measured: a forward pass"""


class LiteralWalk(RelevanceWalk):
    """Compute outputs of convolutions anew for every class, and run batch norms of the end of a branch again."""

    def _through_norm(self, layer: Layer, entry: Recorded, relevance: Tensor) -> Tensor:
        module = layer.module
        y = entry.output.relu() if layer.relu else module(entry.input)
        return relprop_batchnorm(relevance, entry.input, y, module.weight, entry.variance, module.eps)

    def _through_weights(self, layer: Layer, entry: Recorded, relevance: Tensor) -> Tensor:
        module = layer.module
        if isinstance(module, nn.Conv2d):
            return relprop_conv(relevance, entry.input, module.weight, module.bias, ConvShape.of(module))
        return relprop_linear(relevance, entry.input, module.weight, module.bias)


@torch.no_grad()
def literal_maps(model: UnrolledLRPSegmentor, images: Tensor) -> Tensor:
    """Maps (N, K, H, W), one class after the other."""
    with model.decode_head.record(images) as record:
        logits = model.classify(images)
    maps = []
    for c in range(logits.shape[1]):
        (_, relevance), = deque(LiteralWalk()(*record, start_relevance(logits, [c])), maxlen=1)
        maps.append(relevance[0].sum(1))
    return torch.stack(maps, dim=1)


@torch.no_grad()
def plain(function: Callable[[Tensor], Any], images: Tensor) -> Any:
    """Call without a graph."""
    return function(images)


def maps(chunk: int, size: int, device: str, depth: int = 50) -> dict[str, Computation]:
    """Image to maps."""
    torch.manual_seed(0)
    model = UnrolledLRPSegmentor(
        dict(type='mmpretrain.ResNet', depth=depth),
        dict(type='PooledClassifier', in_channels=2048 if depth >= 50 else 512, num_classes=CLASSES),
        dict(type='UnrolledLRPHead', chunk=chunk)).eval().to(device)
    images = torch.rand(1, 3, size, size, device=device)
    return dict(literal=partial(literal_maps, model, images), measured=partial(plain, model.encode_decode, images),
                forward=partial(plain, model.classify, images))


def prepared_maps(name: str, chunk: int, size: int, device: str, threads: int, depth: int) -> Computation:
    """One computation, ready to be measured in a fresh process."""
    torch.set_num_threads(threads)
    maps(chunk, 64, device, 18)[name]()
    return maps(chunk, size, device, depth)[name]


def lrp_rows(parts: list[str], repeats: int, device: str, threads: int, size: int = SIZE,
             depth: int = 50) -> list[dict[str, Any]]:
    """Measure what ``parts`` asks for, as rows of the benchmark's table.

    Args:
        parts (list[str]): Parts of the benchmark; others are left out.
        repeats (int): Timed runs of each computation.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
        size (int): Side of the image.
        depth (int): Of the ResNet.
    """
    rows = []
    clock = time.process_time if device == 'cpu' and threads == 1 else time.perf_counter
    for chunk in CHUNKS if 'lrp' in parts else ():
        print(f'measuring lrp, {chunk} classes at once ...', flush=True)
        seconds = alternate(maps(chunk, size, device, depth), repeats, device, clock)
        extra = {name: peak_extra_memory(prepared_maps, kind, chunk, size, device, threads, depth, device=device)
                 for name, kind in (('reference', 'literal'), ('measured', 'measured'))}
        common = dict(backbone=f'ResNet-{depth}, {chunk} at once', shots='', size=size, device=device, threads=threads)
        for part, reference, measured in (('lrp', 'literal', 'measured'), ('lrp_cost', 'measured', 'forward')):
            rows.append(dict(
                part=part, **common, seconds=dict(reference=seconds[reference], measured=seconds[measured]),
                time_ratio=asdict(Ratio.of(seconds[reference], seconds[measured]))))
        rows[-2].update(extra_bytes=extra, memory_ratio=extra['reference'] / max(1, extra['measured']))
    return rows
