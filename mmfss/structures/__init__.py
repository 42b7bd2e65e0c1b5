"""Data structures."""
from .episode import Episode
from .episode_data_sample import EpisodeDataSample
from .stacked_samples import StackedSamples

__all__ = ['Episode', 'EpisodeDataSample', 'StackedSamples']
