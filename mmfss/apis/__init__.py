"""Using models from Python."""
from .inference import init_model
from .inferencer import FewShotInferencer
from .model_zoo import build_model, get_config_path, get_model_config, list_models
from .prediction_files import FailedQueries
from .support_folder import find_support
from .support_set import EncodedSupport

__all__ = [
    'EncodedSupport', 'FailedQueries', 'FewShotInferencer', 'build_model', 'find_support', 'get_config_path',
    'get_model_config', 'init_model', 'list_models'
]
