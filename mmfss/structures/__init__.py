"""Data structures."""
from .episode import Episode
from .episode_data_sample import EpisodeDataSample

__all__ = ['Episode', 'EpisodeDataSample']
