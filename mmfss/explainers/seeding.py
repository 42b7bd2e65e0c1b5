"""Random numbers that depend on a seed and on the episode alone."""
import zlib

import numpy as np

from mmfss.structures import Episode


def episode_generator(episode: Episode, seed: int) -> np.random.Generator:
    """Create a generator for an episode: the same episode always gets the same numbers, others get others.

    So a map does not depend on which episodes were explained before, nor on how many processes share the work.

    Args:
        episode (Episode): Its query and supports enter.
        seed (int): Not negative.
    """
    images = (episode.query, episode.support)
    return np.random.default_rng([seed, *(zlib.crc32(x.detach().cpu().float().numpy().tobytes()) for x in images)])
