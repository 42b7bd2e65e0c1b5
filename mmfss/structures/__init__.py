"""The element that travels through pipeline, model, metric and explainer."""
from .episode_data_sample import EpisodeDataSample

__all__ = ['EpisodeDataSample']
