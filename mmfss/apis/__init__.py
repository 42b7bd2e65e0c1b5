"""Using models from Python."""
from .inference import init_model
from .inferencer import EncodedSupport, FewShotInferencer

__all__ = ['EncodedSupport', 'FewShotInferencer', 'init_model']
