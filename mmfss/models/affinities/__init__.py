"""Query-to-support score matrices that are streamed, never held."""
from .affinity import Affinity, DotProductAffinity
from .correlation_affinity import CorrelationAffinity, unit
from .cosine_affinity import CosineAffinity
from .fused_attention import FusedAttentionAffinity
from .prototype_affinity import PrototypeAffinity, memberships
from .tempered_affinity import TemperedAffinity

__all__ = [
    'Affinity', 'CorrelationAffinity', 'CosineAffinity', 'DotProductAffinity', 'PrototypeAffinity', 'TemperedAffinity',
    'memberships', 'unit'
]
__all__ = ['Affinity', 'CorrelationAffinity', 'DotProductAffinity', 'FusedAttentionAffinity', 'PrototypeAffinity',
           'memberships', 'unit']
