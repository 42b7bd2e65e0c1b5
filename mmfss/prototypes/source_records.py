"""Records and pictures of the source patch of each pushed prototype."""
import re
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info
from numpy import ndarray
from PIL import Image
from torch import nn

from mmfss.datasets.orientation import loads_upright
from mmfss.models import PrototypeHead
from mmfss.models.layers.prototypes import log_similarity
from mmfss.utils.files import atomic_path
from mmfss.visualization.prototype_pictures import Box, draw_boxes, heat_overlay, prototype_boxes
from .push_result import PushResult

FOLDER = 'prototypes'
MEANING = dict(
    index='place among the prototypes of the pushed model',
    before='place before duplicates and classes without a cell were removed',
    cell='row and column of the source on the feature grid (grid: its height and width)',
    distance='squared distance from the learned vector to the source feature that took its place',
    upright='whether the image was turned by its EXIF orientation when it was loaded',
    receptive_field='pixels of the cell: top, bottom, left, right (bottom and right are not inside)',
    activation_box='grown from the cell while the similarity map is in the top 5 % of the image and inside the class',
    class_box='the same with the top 5 % inside the class',
    files='boxes: image with cell (white) and activation box; heat: similarity map; patch, class_patch: the two boxes; '
    'activation: the map on the grid')


def describe_sources(model: nn.Module, head: PrototypeHead, dataset: Any, result: 'PushResult', out_dir: Path,
                     pictures: bool) -> dict[str, Any]:
    """Describe and draw the source of every kept prototype. Call it before the prototypes are replaced.

    Source images are dealt to the processes in turn; each is read and fed forward once.

    Args:
        model (nn.Module): The segmentor, in eval mode.
        head (PrototypeHead): Its head, with the learned prototypes.
        dataset (Dataset): The images of the push.
        result (PushResult): The sources.
        out_dir (Path): Pictures go to ``<out_dir>/prototypes/<class>/``.
        pictures (bool): Whether to draw.

    Returns:
        dict: ``meaning`` of the fields, ``classes``, ``num_images``, ``absent_classes``, ``duplicates`` (pairs of
        indices before) and ``prototypes`` (one record each).
    """
    classes = list((dataset.metainfo or {}).get('classes') or map(str, range(head.num_classes)))
    rank, world_size = get_dist_info()
    images = sorted(set(result.source[result.kept, 0].tolist()))
    records = []
    for image in images[rank::world_size]:
        records += _describe_image(model, head, dataset, image, result, classes, out_dir if pictures else None)
    prototypes = sorted((record for part in all_gather_object(records) for record in part), key=lambda r: r['index'])
    return dict(
        meaning=MEANING, classes=classes, num_images=len(dataset), absent_classes=[classes[i] for i in result.absent],
        duplicates=result.duplicates, prototypes=prototypes)


@torch.no_grad()
def _describe_image(model: nn.Module, head: PrototypeHead, dataset: Any, image: int, result: 'PushResult',
                    classes: Sequence[str], out_dir: Path | None) -> list[dict[str, Any]]:
    """Describe the prototypes that come from one image."""
    item = dataset[image]
    sample = item['data_samples']
    # Distances of all prototypes
    data = model.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[sample]), False)
    distances = torch.cat(head.distances(head.features(model.extract_feat(data['inputs']))), dim=1)[0]
    labels = sample.gt_sem_seg.data[0].cpu().numpy()
    picture = np.ascontiguousarray(item['inputs'].numpy()[::-1].transpose(1, 2, 0)).astype(np.uint8)
    records = []
    # Describe the prototypes of this image
    for index, before in enumerate(result.kept.tolist()):
        source, row, col, scale = result.source[before].tolist()
        if source != image:
            continue
        class_id = int(head.proto_class[before])
        activation = log_similarity(distances[before], head.epsilon).cpu().numpy()
        cell, activated, of_class = prototype_boxes(activation, labels == class_id, row, col)
        record = dict(
            index=index, before=before, class_id=class_id, class_name=classes[class_id], scale=scale,
            image_index=image, image=sample.metainfo.get('img_path'), image_size=list(labels.shape),
            upright=loads_upright(dataset), grid=list(activation.shape), cell=[row, col],
            distance=float(result.distance[before]),
            receptive_field=list(cell), activation_box=list(activated), class_box=list(of_class))
        if out_dir is not None:
            record['files'] = _draw(picture, activation, (cell, activated, of_class), record, out_dir)
        records.append(record)
    return records


def _draw(picture: ndarray, activation: ndarray, boxes: tuple[Box, Box, Box], record: dict[str, Any],
          out_dir: Path) -> dict[str, str]:
    """Write the pictures of a prototype; return their paths below ``out_dir``."""
    cell, activated, of_class = boxes
    name = re.sub(r'[^0-9A-Za-z.-]+', '-', record['class_name'])
    stem = f'{FOLDER}/{record["class_id"]:03d}-{name}/scale{record["scale"]}_prototype{record["index"]:04d}'
    # Pictures
    heat = heat_overlay(picture, activation)
    files = dict(boxes=draw_boxes(picture, cell, activated), heat=draw_boxes(heat, cell, activated),
                 patch=activated.crop(picture), class_patch=of_class.crop(picture))
    paths = {}
    for kind, content in files.items():
        paths[kind] = f'{stem}_{kind}.png'
        with atomic_path(out_dir / paths[kind]) as path:
            Image.fromarray(np.ascontiguousarray(content)).save(path)
    # Activation, as numbers
    paths['activation'] = f'{stem}_activation.npy'
    with atomic_path(out_dir / paths['activation']) as path:
        np.save(path, activation)
    return paths
