"""Episode samplers."""
from .base import Episode, EpisodeSampler, episodes_text
from .fixed import FixedEpisodeSampler
from .published import PublishedProtocolSampler
from .stream import EpisodeStream
from .uniform import UniformEpisodeSampler

__all__ = [
    'Episode', 'EpisodeSampler', 'EpisodeStream', 'FixedEpisodeSampler', 'PublishedProtocolSampler',
    'UniformEpisodeSampler', 'episodes_text'
]
