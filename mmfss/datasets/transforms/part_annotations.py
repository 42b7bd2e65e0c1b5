"""Loading and packing annotations of object parts."""
from functools import cached_property, partial
from pathlib import Path
from typing import Dict, Optional, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs

from mmfss.registry import TRANSFORMS
from ..part_annotations import read_panoptic_parts, read_part_spec, read_pascal_part

KINDS = ('panoptic_parts', 'pascal_part')


@TRANSFORMS.register_module()
class LoadPartAnnotations(BaseTransform):
    """Load the parts of an image's objects; images without such a file have none.

    Required keys: ``img_path``. Added keys: ``gt_part_map`` (H, W) uint8, 0 where there is no part, also in
    ``seg_fields``, so that later transforms treat it as they treat the labels. The file is ``<part_dir>/<path of the
    image below image_dir, with the suffixes exchanged>``.

    Args:
        kind (str): ``'panoptic_parts'`` (TIFF files of Cityscapes- and Pascal-Panoptic-Parts) or ``'pascal_part'``
            (MATLAB files).
        part_dir (str): Folder of the annotations.
        image_suffix (str): End of the image's path, e.g. ``'_leftImg8bit.png'``.
        part_suffix (str): What stands there in the annotation's, e.g. ``'_gtFinePanopticParts.tif'``.
        image_dir (str, optional): Folder of the images; by default that of each image itself.
        spec (str, optional): Specification of panoptic parts, needed for Pascal; see :func:`read_part_spec`.

    Raises:
        ValueError: If the kind is unknown.
    """

    def __init__(self,
                 kind: str,
                 part_dir: str,
                 image_suffix: str = '.jpg',
                 part_suffix: str = '.tif',
                 image_dir: Optional[str] = None,
                 spec: Optional[str] = None) -> None:
        if kind not in KINDS:
            raise ValueError(f'kind must be one of {KINDS}, got {kind!r}.')
        self.spec_file = spec
        self.kind, self.part_dir, self.image_dir = kind, Path(part_dir), image_dir
        self.image_suffix, self.part_suffix = image_suffix, part_suffix

    @cached_property
    def spec(self) -> Optional[np.ndarray]:
        """Specification, read on first use."""
        return read_part_spec(self.spec_file) if self.spec_file else None

    def transform(self, results: Dict) -> Dict:
        """Load the map.

        Raises:
            ValueError: If the image's path does not end as it should, or the file is damaged or of another size.
        """
        image = Path(results['img_path'])
        if not image.name.endswith(self.image_suffix):
            raise ValueError(f'The image "{image}" does not end with "{self.image_suffix}" (image_suffix).')
        below = image.relative_to(self.image_dir) if self.image_dir else Path(image.name)
        path = self.part_dir / below.with_name(below.name.removesuffix(self.image_suffix) + self.part_suffix)
        if not path.is_file():
            return results
        # Read, and compare with the labels
        read = read_pascal_part if self.kind == 'pascal_part' else partial(read_panoptic_parts, spec=self.spec)
        parts = read(path).parts
        size = results.get('gt_seg_map', results.get('img', parts)).shape[:2]
        if parts.shape != size:
            raise ValueError(f'The part annotation "{path}" has size {parts.shape} (H, W), the labels have {size}.')
        results['gt_part_map'] = parts.astype(np.uint8)
        results.setdefault('seg_fields', []).append('gt_part_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(kind={self.kind!r}, part_dir={str(self.part_dir)!r})'


@TRANSFORMS.register_module()
class PackPartSegInputs(PackSegInputs):
    """Pack inputs like MMSegmentation's ``PackSegInputs``, with ``gt_part_map`` as ``gt_part_seg`` if present.

    Args:
        meta_keys (Sequence[str]): See ``PackSegInputs``.
    """

    def __init__(self, meta_keys: Sequence[str] = ('img_path', 'ori_shape', 'img_shape')) -> None:
        super().__init__(meta_keys)

    def transform(self, results: Dict) -> Dict:
        """Pack the inputs."""
        packed = super().transform(results)
        if results.get('gt_part_map') is not None:
            parts = torch.from_numpy(np.ascontiguousarray(results['gt_part_map']))[None]
            packed['data_samples'].gt_part_seg = PixelData(data=parts)
        return packed
