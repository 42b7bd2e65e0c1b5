"""Packing an episode into the tensors that a model receives."""
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from torch import Tensor

from mmfss.registry import TRANSFORMS
from mmfss.structures import EpisodeDataSample


@TRANSFORMS.register_module()
class PackEpisodeInputs(BaseTransform):
    """Pack query and supports of one size.

    Returns ``dict(inputs=dict(query=(3, H, W) uint8, support=(N, K, 3, H, W) uint8), data_samples=EpisodeDataSample)``,
    images in BGR; see :class:`EpisodeDataSample` for masks and metainfo.

    Args:
        meta_keys (Sequence[str]): Further keys of the query's results to keep as metainfo, where present.
    """

    EPISODE_KEYS = ('episode_index', 'class_ids', 'class_names')

    def __init__(self, meta_keys: Sequence[str] = ('scale_factor', 'flip', 'flip_direction')) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Dict) -> Dict:
        """Pack the episode.

        Raises:
            ValueError: If the images differ in size or have no mask.
        """
        query, supports = results['query'], results['support']
        self._check(query, supports)
        images = np.stack([np.stack([image['img'] for image in group]) for group in supports])
        masks = np.stack([np.stack([image['gt_seg_map'] for image in group]) for group in supports])
        sample = EpisodeDataSample(metainfo=self._metainfo(results))
        sample.gt_sem_seg = _pixel_data(query['gt_seg_map'])
        sample.support_sem_seg = torch.from_numpy(masks.astype(np.uint8, copy=False))
        if 'gt_seg_map_ori' in query:
            sample.gt_sem_seg_ori = _pixel_data(query['gt_seg_map_ori'])
        inputs = dict(query=_image_tensor(query['img']), support=_image_tensor(images))
        return dict(inputs=inputs, data_samples=sample)

    def _check(self, query: Dict, supports: List[List[Dict]]) -> None:
        for image in [query, *(image for group in supports for image in group)]:
            if 'img' not in image or 'gt_seg_map' not in image:
                raise ValueError('PackEpisodeInputs needs images and masks: the pipeline must hold ForEachImage with '
                                 'LoadEpisodeImage and LoadClassMask before it.')
            if image['img'].shape != query['img'].shape or image['gt_seg_map'].shape != query['img'].shape[:2]:
                raise ValueError(f'Image "{image["img_path"]}" has size {image["img"].shape[:2]} and its mask '
                                 f'{image["gt_seg_map"].shape}, the query {query["img"].shape[:2]}: all must have one '
                                 'size. Add ResizeEpisodeImage to the pipeline.')

    def _metainfo(self, results: Dict) -> Dict[str, Any]:
        query, supports = results['query'], results['support']
        metainfo = {key: results[key] for key in self.EPISODE_KEYS}
        metainfo.update({key: query[key] for key in self.meta_keys if key in query})
        metainfo.update(
            img_path=query['img_path'],
            query_name=query['name'],
            upright=bool(query.get('upright')),
            ori_shape=query['ori_shape'],
            img_shape=query['img'].shape[:2],
            support_paths=[[image['img_path'] for image in group] for group in supports],
            support_names=[[image['name'] for image in group] for group in supports],
            support_ori_shapes=[[image['ori_shape'] for image in group] for group in supports])
        return metainfo

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'


def _image_tensor(image: np.ndarray) -> Tensor:
    """Convert (..., H, W, 3) to a contiguous (..., 3, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3)))


def _pixel_data(mask: np.ndarray) -> PixelData:
    return PixelData(data=torch.from_numpy(mask.astype(np.int64))[None])
