"""Easy episodes, whose support shows the query itself."""
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class QueryAsSupport(BaseTransform):
    """Put the query in the place of supports, at random, before images are loaded.

    Random transforms draw for each image, so that with a flip in :class:`ForEachImage` the support shows the same
    object elsewhere. A network without pretrained features learns on such episodes to compare; on others alone it may
    take very long until it finds that supports tell anything. For trainings of this package, not from a paper.

    Required keys: ``query`` (dict), ``support`` (one list of K dicts, replaced).

    Args:
        prob (float): Probability of each support to be replaced. Defaults to 0.5.

    Raises:
        ValueError: If ``prob`` is out of [0, 1], or an episode has several classes, which its query may not all show.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'QueryAsSupport: prob must be between 0 and 1, got {prob}.')
        self.prob = prob

    def transform(self, results: Dict) -> Dict:
        """Replace supports."""
        if len(results['support']) != 1:
            raise ValueError(f'QueryAsSupport is for episodes of one class, got {len(results["support"])}: set '
                             'num_ways=1.')
        group, = results['support']
        results['support'] = [[{**results['query'], 'role': 'support'} if np.random.rand() < self.prob else image
                               for image in group]]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
