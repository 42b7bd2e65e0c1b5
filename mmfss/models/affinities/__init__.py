"""Query-to-support score matrices that are streamed, never held."""
from .affinity import Affinity, DotProductAffinity
from .correlation_affinity import CorrelationAffinity, unit
from .fused_attention import FusedAttentionAffinity
from .prototype_affinity import PrototypeAffinity, memberships

__all__ = ['Affinity', 'CorrelationAffinity', 'DotProductAffinity', 'FusedAttentionAffinity', 'PrototypeAffinity',
           'memberships', 'unit']
