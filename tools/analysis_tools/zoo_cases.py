"""One model of the zoo for ``zoo_table.py``: its passes, counted and measured."""
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmfss.apis import build_model, get_model_config
from mmfss.apis.image_transform import ImageTransform
from mmfss.models import BaseFewShotSegmentor, DiffewsSegmentor, UnrolledLRPSegmentor
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.benchmark import Computation, Ratio, alternate, peak_extra_memory

PASSES = ('backbone', 'head')
LARGEST = 300_000_000
"""Parameters of a model that is still measured, not only counted."""
OBJECT_SHARE = 1 / 8
"""Of the pixels of the support; methods that leave background aside compute less for a small object."""


def image_size(cfg: Config) -> tuple[int, int]:
    """Size (H, W) of the images a config's model works on: that of the test, or of the crop it is trained on."""
    crop = (cfg.model.get('data_preprocessor') or {}).get('size')
    if crop is not None:
        return tuple(crop)
    image, _ = ImageTransform.from_config(cfg).prepare(np.zeros((512, 512, 3), np.uint8))
    return tuple(image.shape[-2:])


def parts_of(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Backbone and head; of DiffewS VAE and UNet. Unrolled LRP decodes without parameters of its own."""
    if isinstance(model, DiffewsSegmentor):
        return model.vae, model.unet
    if isinstance(model, UnrolledLRPSegmentor):
        return model.backbone, model.cls_head
    return model.backbone, model.head if isinstance(model, BaseFewShotSegmentor) else model.decode_head


def num_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters of backbone and head, trained or not."""
    modules = dict(zip(PASSES, parts_of(model)))
    return {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in modules.items()}


class Passes:
    """The model of a config with random weights, and random images of its size.

    Attributes:
        model (nn.Module): The model.
        size (tuple[int, int]): (H, W).
        features (Any): Of the query, as the head receives them.
        support (Any): Of one support, if the model takes supports.

        device (str): Where it is computed: ``'meta'``, nowhere, if the model is too large to be measured.

    Args:
        config (str | Path): The config.
    """

    def __init__(self, config: Union[str, Path]) -> None:
        register_all_modules(init_default_scope=True)
        torch.manual_seed(0)
        cfg = get_model_config(config)
        self.device, self.size = 'meta' if is_large(cfg) else 'cpu', image_size(cfg)
        self.model = without_weights(cfg) if self.device == 'meta' else build_model(cfg)
        self.features = self.backbone()
        if isinstance(self.model, UnrolledLRPSegmentor):
            self.record = self.recorded()
        self.support = self.backbone() if isinstance(self.model, BaseFewShotSegmentor) else None

    @torch.no_grad()
    def backbone(self) -> Any:
        """Features of one image."""
        return self.model.extract_feat(torch.randn(1, 3, *self.size, device=self.device))

    @torch.no_grad()
    def recorded(self) -> tuple[Any, Tensor, Tensor]:
        """Record of a forward pass, the image, and its logits."""
        images = torch.randn(1, 3, *self.size)
        with self.model.decode_head.record(images) as record:
            logits = self.model.classify(images)
        return record, images, logits

    @torch.no_grad()
    def head(self) -> Tensor:
        """Logits from the features of one query, and of one support, which is encoded."""
        if isinstance(self.model, UnrolledLRPSegmentor):
            return self.model.decode_head(*self.record)
        if self.support is None:
            return self.model.decode_head(self.features)
        encoding = self.model.encode_features(self.support, disc(self.size)[None, None, None].to(self.device))
        return self.model.match(self.features, encoding, self.size)


def without_weights(cfg: Config) -> nn.Module:
    """Build the model of a config without content, for counts."""
    with torch.device('meta'):
        return MODELS.build(cfg.model).eval()


def is_large(cfg: Config) -> bool:
    """Whether a model of latent diffusion has more than :data:`LARGEST` parameters."""
    if cfg.model.type != 'DiffewsSegmentor':
        return False
    return sum(num_parameters(without_weights(cfg)).values()) > LARGEST


def disc(size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of a disc, or an ellipse, that covers :data:`OBJECT_SHARE`."""
    y, x = (torch.linspace(-1, 1, side) for side in size)
    return (y[:, None]**2 + x**2 < 4 * OBJECT_SHARE / torch.pi).float()


def addmm_flops(total: torch.Size, left: torch.Size, right: torch.Size, **kwargs: Any) -> int:
    """Of the product that is added to a total in place, which the counter of torch does not know; from shapes."""
    return 2 * left.numel() * right[-1]


def count(passes: Passes) -> dict[str, Any]:
    """What does not depend on the machine: size, parameters, multiply-adds of products, convolutions and attention."""
    macs = {}
    for name in PASSES:
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_flops}) as counter:
            getattr(passes, name)()
        macs[name] = counter.get_total_flops() // 2
    return dict(input=list(passes.size), parameters=num_parameters(passes.model), macs=macs)


def prepared(config: str, name: str) -> Computation:
    """A pass, ready to be run; libraries have allocated what they do on first use."""
    torch.set_num_threads(1)
    passes = Passes(config)
    return getattr(passes, name)


def measure(passes: Passes, config: str, repeats: int) -> dict[str, Any]:
    """Time and memory on this machine: one thread of the CPU, the two passes in turns.

    Args:
        passes (Passes): The model.
        config (str): Its config; memory is measured in fresh processes.
        repeats (int): Timed runs of each pass.
    """
    computations: dict[str, Computation] = {name: getattr(passes, name) for name in PASSES}
    seconds = alternate(computations, repeats, clock=time.process_time)
    memory = {name: peak_extra_memory(prepared, config, name) for name in PASSES}
    return dict(
        seconds=seconds, time_ratio=asdict(Ratio.of(seconds['head'], seconds['backbone'])), extra_bytes=memory,
        memory_ratio=memory['head'] / memory['backbone'])
