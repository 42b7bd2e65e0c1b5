"""Vision transformers of timm: DINOv3, DINOv2 with registers."""
import importlib.util
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.models import TIMMBackbone
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.checkpoint import CheckpointError, check_state_dict, get_state_dict


@MODELS.register_module()
class TIMMVisionTransformer(TIMMBackbone):
    """MMPretrain's wrapper of a timm model, for transformers at any image size that is a multiple of their patch.

    DINOv3 is ``vit_small_patch16_dinov3``, ``vit_base_..`` or ``vit_large_..``; DINOv2 with registers is
    ``vit_small_patch14_reg4_dinov2`` and so on. Weights come from a file, see :class:`TIMMWeights`. Their features are
    read by :class:`TIMMFeatures`.

    Args:
        model_name (str): Name of the timm model.
        **kwargs: See MMPretrain's ``TIMMBackbone``: ``in_channels``, ``init_cfg``, and arguments of the timm model.

    Raises:
        ModuleNotFoundError: If timm is not installed.
    """

    def __init__(self, model_name: str, **kwargs: Any) -> None:
        if 'timm' not in sys.modules and importlib.util.find_spec('timm') is None:
            raise ModuleNotFoundError(
                f'The backbone {model_name} comes from timm, which is not installed: pip install "mmfss[dinov3]"',
                name='timm')
        super().__init__(model_name, **{'dynamic_img_size': True, **kwargs})


# In MMEngine's own registry, so that it is found whatever the default scope is.
@WEIGHT_INITIALIZERS.register_module()
class TIMMWeights:
    """Initialize a timm backbone from a file in the layout of its authors or of timm.

    timm's own filter of the model renames the entries. Every weight must be there and fit.

    ``init_cfg=dict(type='TIMMWeights', checkpoint='checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth')``

    Args:
        checkpoint (str): The file (``.pth``, ``.safetensors``), or an address.

    Raises:
        FileNotFoundError: When called, if there is no such file.
        CheckpointError: When called, if the weights are not those of the backbone, such as those of another size.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a ``TIMMBackbone``; it will not be initialized again."""
        model = module.timm_model
        weights = _renamed(model, self._read(), self.checkpoint)
        check_state_dict(model, weights, self.checkpoint)
        model.load_state_dict(weights, strict=False)  # all but computed buffers, as just checked
        for part in module.modules():
            part.is_init = True

    def _read(self) -> dict[str, Tensor]:
        path = Path(self.checkpoint).expanduser()
        if path.suffix == '.safetensors' and path.is_file():
            from safetensors.torch import load_file
            return load_file(path)
        return get_state_dict(CheckpointLoader.load_checkpoint(str(self.checkpoint), 'cpu'))


def _renamed(model: nn.Module, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    convert = getattr(sys.modules[type(model).__module__], 'checkpoint_filter_fn', None)
    renamed = dict(weights)
    if convert is not None:
        with redirect_stdout(StringIO()):  # the filter prints each bias that it leaves out
            renamed = convert(renamed, model)
    own = set(model.state_dict())
    lost = [name for name, value in weights.items()
            if name.endswith('qkv.bias') and name.replace('qkv.bias', 'q_bias') not in renamed and name not in renamed
            and any(part.any() for part in value.chunk(3)[::2])]  # yapf: disable
    if lost:
        raise CheckpointError(f'The checkpoint "{source}" has biases of queries and values ({lost[0]}, ...), and this '
                              'timm model has none: take its variant "_qkvb".')
    classifiers = model.pretrained_cfg.get('classifier') or ()
    classifiers = (classifiers, ) if isinstance(classifiers, str) else tuple(classifiers)
    return {name: value for name, value in renamed.items()
            if name in own or not name.startswith(tuple(f'{classifier}.' for classifier in classifiers))}
