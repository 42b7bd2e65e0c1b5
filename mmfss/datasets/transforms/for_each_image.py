"""One wrapper that applies image transforms to every image of an episode."""
from typing import Callable, Dict, List, Sequence, Union

from mmcv.transforms import BaseTransform, Compose

from mmfss.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ForEachImage(BaseTransform):
    """Apply transforms of MMCV, MMSegmentation or this package to the query and to each support.

    Each image is a results dict of its own with the keys those transforms know: ``img_path``, ``img``, ``img_shape``,
    ``ori_shape``, ``gt_seg_map``, ``seg_fields``. Random transforms draw anew for each image, the query first, then the
    supports class by class. The dataset seeds the random sources for every episode from (seed, index), so the result
    does not depend on workers or on earlier items.

    Required keys: ``query`` (dict), ``support`` (N lists of K dicts); both are replaced by what the transforms return.

    Args:
        transforms (Sequence[dict | Callable]): The transforms.
    """

    def __init__(self, transforms: Sequence[Union[Dict, Callable]]) -> None:
        self.transforms = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in transforms])

    def transform(self, results: Dict) -> Dict:
        """Apply the transforms to all 1 + N*K images."""
        results['query'] = self._apply(results['query'])
        results['support'] = [[self._apply(image) for image in group] for group in results['support']]
        return results

    def _apply(self, image: Dict) -> Dict:
        transformed = self.transforms(image)
        if transformed is None:
            raise ValueError(f'A transform dropped the image "{image.get("img_path")}"; every image of an episode must '
                             'stay.')
        return transformed

    def __repr__(self) -> str:
        steps: List[str] = [repr(step) for step in self.transforms.transforms]
        return f'{type(self).__name__}(transforms=[{", ".join(steps)}])'
