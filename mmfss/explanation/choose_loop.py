"""Choose the explanation loop for a config."""
import inspect
from typing import Type

from mmengine.config import Config

from mmfss.utils.config_options import ConfigError, find_class
from .episodes.loop import ExplanationLoop
from .images.loop import PrototypeExplanationLoop
from .images.relevance_loop import RelevanceExplanationLoop
from .recording_loop import RecordingLoop

# The loop of a further kind of model is a further entry.
EXPLANATION_LOOPS: tuple[Type[RecordingLoop], ...] = (
    ExplanationLoop, PrototypeExplanationLoop, RelevanceExplanationLoop)


def choose_loop(cfg: Config) -> Type[RecordingLoop]:
    """Return the loop that explains the model of a config.

    A config whose ``test_cfg`` names an explanation loop gets this one, also a loop of your own; any other config gets
    the first of :data:`EXPLANATION_LOOPS` that explains its model.

    Args:
        cfg (Config): A config.

    Raises:
        ConfigError: If no loop explains such a model.
    """
    named = find_class((cfg.get('test_cfg') or {}).get('type'))
    own = (named,) if inspect.isclass(named) and issubclass(named, RecordingLoop) else ()
    for loop in (*own, *EXPLANATION_LOOPS):
        if loop.explains(cfg):
            return loop
    model = cfg.get('model') or {}
    kind, head = (find_class(node.get('type')) for node in (model, model.get('decode_head') or {}))
    raise ConfigError(f'The model of "{cfg.filename}" cannot be explained: it is a {kind.__name__} (decode_head: '
                      f'{getattr(head, "__name__", "none")}). Explained are '
                      f'{" and ".join(loop.subject for loop in EXPLANATION_LOOPS)}.')
