"""Choose the explanation loop for a config."""
import inspect

from mmengine.config import Config
from mmseg.models.segmentors import BaseSegmentor

from mmfss.models import FewShotSegmentor, PrototypeHead
from mmfss.utils.config_options import ConfigError, find_class


def explains_prototypes(cfg: Config) -> bool:
    """Whether a config's model has learned prototypes, and is not a few-shot one.

    Args:
        cfg (Config): A config.

    Raises:
        ConfigError: If it is neither: nothing explains it.
    """
    model = cfg.get('model') or {}
    kind, head = find_class(model.get('type')), find_class((model.get('decode_head') or {}).get('type'))
    if inspect.isclass(head) and issubclass(head, PrototypeHead):
        return True
    if inspect.isclass(kind) and issubclass(kind, BaseSegmentor) and not issubclass(kind, FewShotSegmentor):
        name = getattr(head, '__name__', 'none')
        raise ConfigError(f'The model of "{cfg.filename}" cannot be explained: it is a {kind.__name__} (decode_head: '
                          f'{name}). Explained are few-shot models (FewShotSegmentor) and models with prototypes '
                          '(decode_head: ScaleProtoHead or ScaleProtoGroupHead).')
    return False
