"""Tiny datasets in the folder layouts of the benchmarks."""

import json
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from mmfss.datasets import COCO_CLASSES

PIPELINE = [
    dict(
        type='ForEachImage',
        transforms=[
            dict(type='LoadEpisodeImage'),
            dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(40, 32)),
        ],
    ),
    dict(type='PackEpisodeInputs'),
]
SIZE = (24, 30)


def save_image(path: Path, number: int, size: Tuple[int, int] = SIZE) -> np.ndarray:
    """Write a noisy picture of its own; returns it, (H, W, 3) uint8 RGB."""
    image = np.random.RandomState(number).randint(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return image


def save_mask(path: Path, mask: np.ndarray, palette: bool = False) -> None:
    """Write a mask as grey or palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask.astype(np.uint8))
    if palette:
        picture.putpalette(np.random.RandomState(0).randint(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(path)


def boxes_mask(boxes: Sequence[Tuple[int, int, int, int, int]], size: Tuple[int, int] = SIZE) -> np.ndarray:
    """Mask of boxes (value, top, left, bottom, right), later ones on top."""
    mask = np.zeros(size, np.uint8)
    for value, top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = value
    return mask


def write_voc(root: Path, images_per_class: int = 4) -> Path:
    """A VOC root: each of the 20 classes in ``images_per_class`` images, with a 255 border and a second class."""
    stems = []
    for class_id in range(20):
        for number in range(images_per_class):
            stem = f'2007_{class_id:03d}{number:03d}'
            mask = boxes_mask(
                [(255, 1, 1, 13, 13), (class_id + 1, 2, 2, 12, 12), ((class_id + 1) % 20 + 1, 15, 15, 20, 25)]
            )
            save_image(root / 'JPEGImages' / f'{stem}.jpg', 100 * class_id + number)
            save_mask(root / 'SegmentationClassAug' / f'{stem}.png', mask, palette=True)
            stems.append(stem)
    folder = root / 'ImageSets' / 'Segmentation'
    folder.mkdir(parents=True)
    (folder / 'trainaug.txt').write_text('\n'.join(stems[::2]) + '\n')
    (folder / 'val.txt').write_text('\n'.join(stems[1::2]) + '\n')
    return root


def write_pascal_splits(root: Path, images_per_class: int = 4) -> Path:
    """PASCAL-5i lists for :func:`write_voc`: every image under its main class."""
    for part in ('trn', 'val'):
        for fold in range(4):
            path = root / part / f'fold{fold}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                ''.join(
                    f'2007_{class_id:03d}{number:03d}__{class_id + 1:02d}\n'
                    for class_id in range(5 * fold, 5 * fold + 5)
                    for number in range(images_per_class)
                )
            )
    return root


def coco_content(images: Sequence[Dict], annotations: Sequence[Dict]) -> Dict:
    """An instances dictionary with the 80 classes; ids with gaps, stored unsorted, as a reader must sort them."""
    categories = [dict(id=10 + 3 * number, name=name) for number, name in enumerate(COCO_CLASSES)]
    return dict(images=list(images), annotations=list(annotations), categories=categories[::-1])


def write_coco(root: Path, images_per_class: int = 3) -> Path:
    """A COCO 2014 root, instances and class-number PNGs: each class in ``images_per_class`` images of both parts."""
    for part in ('train2014', 'val2014'):
        images: List[Dict] = []
        annotations: List[Dict] = []
        for number in range(80 * images_per_class):
            class_id, file = number % 80, f'COCO_{part}_{number:012d}.jpg'
            save_image(root / part / file, number)
            images.append(dict(id=number, file_name=file, height=SIZE[0], width=SIZE[1]))
            annotations.append(
                dict(
                    id=number,
                    image_id=number,
                    category_id=10 + 3 * class_id,
                    iscrowd=0,
                    area=120,
                    segmentation=[[3, 4, 15, 4, 15, 14, 3, 14]],
                )
            )
            save_mask(
                root / 'annotations' / part / file.replace('.jpg', '.png'), boxes_mask([(class_id + 1, 4, 3, 14, 15)])
            )
        (root / 'annotations' / f'instances_{part}.json').write_text(json.dumps(coco_content(images, annotations)))
    return root


def write_fss(root: Path, categories: Sequence[str] = ('ant', 'bee', 'cat', 'dog', 'Eel')) -> Path:
    """An FSS-1000 root: ten pairs per category, one mask pixel just below the threshold."""
    for place, category in enumerate(categories):
        for number in range(1, 11):
            save_image(root / category / f'{number}.jpg', 20 * place + number)
            save_mask(
                root / category / f'{number}.png',
                boxes_mask([(200, 2, 2, 12, 12), (127, 0, 0, 1, 1), (128, 20, 20, 21, 21)]),
            )
    return root


def write_deepglobe(root: Path) -> Path:
    """A converted DeepGlobe root: 8 + c tiles in the mask folder of class c."""
    for folder in range(1, 7):
        for i in range(8 + folder):
            tile = f'{3 * i % 6}{5 * i % 6}'
            number = 1000 * folder + 7 * i
            save_image(root / 'image' / f'{number}_sat_{tile}.jpg', number)
            mask = boxes_mask([(255, 2, 2, 12, 12), (127, 0, 0, 1, 1), (128, 20, 20, 21, 21)])
            save_mask(root / 'filter_mask' / str(folder) / f'{number}_mask_{tile}.png', mask)
    return root


def write_isic(root: Path) -> Path:
    """A sorted ISIC root: 10 + c images in the class folder c, each with a mask."""
    for folder in range(1, 4):
        for i in range(10 + folder):
            name = f'ISIC_{folder:03d}{i:04d}'
            save_image(root / 'ISIC2018_Task1-2_Training_Input' / str(folder) / f'{name}.jpg', 100 * folder + i)
            mask = boxes_mask([(255, 3, 3, 13, 13), (127, 0, 0, 1, 1)])
            save_mask(root / 'ISIC2018_Task1_Training_GroundTruth' / f'{name}_segmentation.png', mask)
    return root


def write_lung(root: Path) -> Path:
    """A chest X-ray root: six Montgomery pairs and nine Shenzhen pairs, grey, and one image without a mask."""
    names = [(f'MCUCXR_{i:04d}_{i % 2}', '') for i in range(6)]
    names += [(f'CHNCXR_{i:04d}_{i % 2}', '_mask') for i in range(9)]
    for number, (name, suffix) in enumerate(names):
        save_mask(root / 'CXR_png' / f'{name}.png', np.random.RandomState(number).randint(0, 256, SIZE))
        save_mask(root / 'masks' / f'{name}{suffix}.png', boxes_mask([(255, 2, 2, 20, 10), (255, 2, 15, 20, 25)]))
    save_mask(root / 'CXR_png' / 'CHNCXR_0100_0.png', np.zeros(SIZE))
    return root
