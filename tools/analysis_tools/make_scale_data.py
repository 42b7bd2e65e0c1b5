"""Make datasets of the size and layout of COCO 2014, VOC 2012 + SBD, FSS-1000 and large own folders, for measurements.

Annotations have the real numbers of images and objects; pictures are hard links to a few drawn ones, so everything
takes about 0.8 GB and a few minutes. With the published split lists (``--splits``) every listed image exists and
shows its class, so that the lists are recognized. Measure with ``measure_data.py``.

Examples:
    python tools/analysis_tools/make_scale_data.py scale_data --parts coco --splits data/splits
    python tools/analysis_tools/make_scale_data.py scale_data --parts coco voc fss own phone
    python tools/analysis_tools/make_scale_data.py small --parts coco --fraction 0.01
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import gzip
import json
import os
from pathlib import Path
from typing import Any, Iterator, Optional

import numpy as np
from PIL import Image, ImageDraw

from mmfss.datasets import COCO_CLASSES, VOC_CLASSES
from mmfss.datasets.split_lists import read_fss_list, read_pascal_list

COCO_PARTS = dict(train=(82_783, 604_907, 'trn'), val=(40_504, 291_875, 'val'))
"""Images, objects and the name of the split lists of each part of COCO 2014."""
MAX_COCO_ID = 581_929
CROWD_SHARE, TWO_PIECE_SHARE = 0.012, 0.09
"""Shares of the objects that are crowds, and of those that lie in two pieces."""
VOC_SETS = dict(trainaug=(10_582, 'trn'), val=(1_449, 'val'))
FOLDERS = dict(own=(1280, 200, 500), phone=(4032, 20, 10))
"""Longer side of the pictures, classes, and images of each class."""
PARTS = ('coco', 'voc', 'fss', *FOLDERS)

Rng = np.random.Generator
Size = tuple[int, int]


def draw_picture(rng: Rng, size: Size) -> Image.Image:
    """Draw a picture with detail at all scales, which JPEG compresses about as a photograph."""
    width, height = size
    picture = np.zeros((height, width, 3), np.float32)
    for cells, contrast in ((3, 90), (12, 45), (50, 22), (200, 9)):
        coarse = rng.normal(0, contrast, (cells, cells, 3)).clip(-255, 255).astype(np.float32)
        layers = [Image.fromarray(coarse[..., channel]).resize(size, Image.Resampling.BICUBIC) for channel in range(3)]
        picture += np.stack([np.asarray(layer) for layer in layers], axis=-1)
    picture += rng.normal(128, 7, (height, width, 1))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def save_pictures(folder: Path, count: int, side: int, quality: int) -> list[tuple[Path, Size]]:
    """Save pictures whose longer side is ``side``; returns the path and (width, height) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, saved = np.random.default_rng(side), []
    for number in range(count):
        size = (side, side * 3 // 4) if number % 3 else (side * 3 // 4, side)
        path = folder / f'{number:02d}.jpg'
        draw_picture(rng, size).save(path, quality=quality)
        saved.append((path, size))
    return saved


# COCO


def star_polygons(rng: Rng, centres: np.ndarray, radii: np.ndarray, sizes: np.ndarray) -> list[list[float]]:
    """Draw star-shaped outlines with as many points as COCO's: the median is 17, a tenth have over 40.

    Args:
        rng (Generator): Random source.
        centres (ndarray): x, y, shape (n, 2).
        radii (ndarray): Shape (n, ).
        sizes (ndarray): Width and height of each picture, shape (n, 2).
    """
    points = np.exp(rng.normal(np.log(17), 0.65, len(radii))).clip(5, 150).astype(int)
    starts = np.cumsum(points) - points
    shape = np.repeat(np.arange(len(radii)), points)
    angles = 2 * np.pi * (np.arange(len(shape)) - starts[shape] + rng.uniform(0, 0.7, len(shape))) / points[shape]
    reach = radii[shape] * rng.uniform(0.6, 1, len(shape))
    outline = centres[shape] + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = outline.clip(0, sizes[shape]).round(2)
    return [outline[start:start + count].ravel().tolist() for start, count in zip(starts, points)]


def crowd_runs(rng: Rng, size: Size) -> list[int]:
    """Draw a crowd as uncompressed run lengths, column by column."""
    image = Image.new('L', size)
    draw = ImageDraw.Draw(image)
    for x, y, radius in rng.uniform((0, size[1] / 3, 10), (*size, 40), (15, 3)):
        draw.ellipse((x - radius, y - 2 * radius, x + radius, y + 2 * radius), fill=1)
    columns = np.asarray(image).T.ravel()
    edges = np.flatnonzero(np.diff(columns, prepend=0))
    return np.diff([0, *edges, len(columns)]).tolist()


def listed_pairs(lists: Optional[Path], rng: Rng, num_images: int) -> np.ndarray:
    """Return pairs (image id, class id) that an episode may use: those of published lists, or random ones."""
    if lists is None:
        ids = np.repeat(rng.choice(MAX_COCO_ID, num_images * 9 // 10, replace=False) + 1, 2)
        return np.unique(np.stack([ids, rng.integers(len(COCO_CLASSES), size=len(ids))], axis=1), axis=0)
    with gzip.open(lists) as file:
        content = json.load(file)['classes']
    return np.array([(image, int(class_id)) for class_id, images in content.items() for image in images])


def make_coco(out: Path, splits: Optional[Path], fraction: float) -> None:
    """Make ``coco2014``."""
    pictures = save_pictures(out / 'pictures/coco', 24, 640, 90)
    for seed, (part, (num_images, num_objects, lists)) in enumerate(COCO_PARTS.items()):
        rng = np.random.default_rng(seed)
        num_images, num_objects = round(num_images * fraction), round(num_objects * fraction)
        pairs = listed_pairs(splits and splits / f'coco/{lists}.json.gz', rng, num_images)
        listed = np.unique(pairs[:, 0])
        free = np.setdiff1d(np.arange(1, MAX_COCO_ID + 1), listed)
        ids = np.sort(np.concatenate([listed, rng.choice(free, max(0, num_images - len(listed)), replace=False)]))
        names = [f'COCO_{part}2014_{number:012d}.jpg' for number in ids]
        folder = out / f'coco2014/{part}2014'
        folder.mkdir(parents=True)
        for row, name in enumerate(names):
            os.link(pictures[row % len(pictures)][0], folder / name)
        sizes = np.array([pictures[row % len(pictures)][1] for row in range(len(ids))])
        write_instances(out / f'coco2014/annotations/instances_{part}2014.json', rng, ids, names, sizes, pairs,
                        max(num_objects, len(pairs)))


def write_instances(path: Path, rng: Rng, ids: np.ndarray, names: list[str], sizes: np.ndarray, pairs: np.ndarray,
                    num_objects: int) -> None:
    """Write an instances file: a large object for each pair (image id, class id), then smaller ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [dict(license=3, file_name=names[row], height=int(sizes[row, 1]), width=int(sizes[row, 0]),
                   date_captured='2013-11-14 11:18:45', id=int(ids[row])) for row in rng.permutation(len(ids))]
    categories = [dict(supercategory='thing', id=number, name=name) for number, name in enumerate(COCO_CLASSES, 1)]
    objects = np.concatenate([pairs, pairs[rng.integers(len(pairs), size=num_objects - len(pairs))]])
    large = np.arange(num_objects) < len(pairs)
    spread = rng.normal(size=num_objects)
    radii = np.where(large, np.exp(np.log(75) + 0.5 * spread).clip(30, 300), np.exp(np.log(22) + 0.8 * spread))
    crowds = ~large & (rng.random(num_objects) < CROWD_SHARE)
    order = rng.permutation(num_objects)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(f'{{"info": {{}}, "licenses": [], "images": {json.dumps(images)}, "categories": '
                   f'{json.dumps(categories)}, "annotations": [')
        for start in range(0, num_objects, 20_000):
            chosen = order[start:start + 20_000]
            size = sizes[np.searchsorted(ids, objects[chosen, 0])]
            entries = annotations(rng, chosen, objects[chosen], size, radii[chosen], crowds[chosen])
            file.write((', ' if start else '') + ', '.join(map(json.dumps, entries)))
        file.write(']}')


def annotations(rng: Rng, numbers: np.ndarray, objects: np.ndarray, sizes: np.ndarray, radii: np.ndarray,
                crowds: np.ndarray) -> Iterator[dict[str, Any]]:
    """Make the annotations of some objects."""
    centres = sizes * rng.uniform(0.15, 0.85, (len(numbers), 2))
    outlines = star_polygons(rng, centres, radii, sizes)
    others = star_polygons(rng, (centres + radii[:, None]).clip(0, sizes - 1), radii / 3, sizes)
    two_pieces = rng.random(len(numbers)) < TWO_PIECE_SHARE
    for place, number in enumerate(numbers.tolist()):
        width, height = sizes[place].tolist()
        shape: Any = [outlines[place], *([others[place]] if two_pieces[place] else [])]
        if crowds[place]:
            shape = dict(counts=crowd_runs(rng, (width, height)), size=[height, width])
        radius = float(radii[place])
        box = [round(float(value), 2) for value in (*(centres[place] - radius), 2 * radius, 2 * radius)]
        yield dict(segmentation=shape, area=round(2.2 * radius**2, 2), iscrowd=int(crowds[place]), bbox=box,
                   image_id=int(objects[place, 0]), category_id=int(objects[place, 1]) + 1, id=number + 1)


# VOC, FSS-1000 and own folders


def make_voc(out: Path, splits: Optional[Path], fraction: float) -> None:
    """Make ``VOCdevkit/VOC2012``."""
    root, rng = out / 'VOCdevkit/VOC2012', np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationClassAug', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    pictures = save_pictures(out / 'pictures/voc', 12, 500, 92)
    masks: dict[tuple[int, ...], tuple[Path, Path]] = {}
    for image_set, (total, part) in VOC_SETS.items():
        shown: dict[str, set[int]] = {}
        for path in sorted((splits / 'pascal' / part).glob('*.txt')) if splits else ():
            for class_id, stem in read_pascal_list(str(path)):
                shown.setdefault(stem, set()).add(class_id)
        for number in range(round(total * fraction) - len(shown)):
            shown[f'{image_set}_{number:06d}'] = {int(rng.integers(len(VOC_CLASSES)))}
        for stem, classes in shown.items():
            key = tuple(sorted(classes))
            if key not in masks:
                picture, size = pictures[len(masks) % len(pictures)]
                masks[key] = picture, out / f'pictures/voc/mask_{len(masks)}.png'
                draw_mask(size, [class_id + 1 for class_id in key]).save(masks[key][1])
            for source, target in zip(masks[key], (f'JPEGImages/{stem}.jpg', f'SegmentationClassAug/{stem}.png')):
                os.link(source, root / target)
        (root / f'ImageSets/Segmentation/{image_set}.txt').write_text('\n'.join(sorted(shown)) + '\n')


def draw_mask(size: Size, values: list[int]) -> Image.Image:
    """Draw one ellipse for each value, side by side, with an ignored rim."""
    mask = Image.new('L', size)
    draw, step = ImageDraw.Draw(mask), size[0] / len(values)
    for place, value in enumerate(values):
        draw.ellipse((step * place + 3, size[1] / 5, step * (place + 1) - 3, size[1] * 0.9), value, 255, width=3)
    return mask


def make_fss(out: Path, splits: Optional[Path], fraction: float) -> None:
    """Make ``FSS-1000``."""
    names = [f'category_{number:04d}' for number in range(round(1000 * fraction))]
    if splits:
        names = [name for part in ('trn', 'val', 'test') for name in read_fss_list(str(splits / f'fss/{part}.txt'))]
    pairs = pictures_with_masks(out / 'pictures/fss', 20, 224)
    for place, name in enumerate(names):
        (out / 'FSS-1000' / name).mkdir(parents=True)
        for number in range(1, 11):
            for source in pairs[(place + number) % len(pairs)]:
                os.link(source, out / 'FSS-1000' / name / f'{number}{source.suffix}')


def make_folders(out: Path, name: str, fraction: float) -> None:
    """Make a folder for :class:`mmfss.datasets.ImageFolderDataset`."""
    side, classes, images = FOLDERS[name]
    pairs = pictures_with_masks(out / 'pictures' / name, 4 if side > 2000 else 12, side)
    for class_id in range(max(4, round(classes * fraction))):
        folders = [out / name / f'class_{class_id:04d}' / kind for kind in ('images', 'masks')]
        for folder in folders:
            folder.mkdir(parents=True)
        for number in range(images):
            for source, folder in zip(pairs[(class_id + number) % len(pairs)], folders):
                os.link(source, folder / f'IMG_{number:05d}{source.suffix}')


def pictures_with_masks(folder: Path, count: int, side: int) -> list[tuple[Path, Path]]:
    """Save pictures, and beside each the mask of one object."""
    pairs = []
    for path, size in save_pictures(folder, count, side, 90):
        draw_mask(size, [255]).save(path.with_suffix('.png'))
        pairs.append((path, path.with_suffix('.png')))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='folder to make, on one file system; remove it with rm -r')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=['coco'], help='what to make')
    parser.add_argument('--splits', type=Path, help='folder of the published split lists (coco, pascal, fss)')
    parser.add_argument('--fraction', type=float, default=1., help='share of the real size, without --splits')
    args = parser.parse_args()
    if not 0 < args.fraction <= 1 or (args.splits and args.fraction != 1):
        parser.error('--fraction is above 0 and at most 1; with --splits it is 1')
    for part in args.parts:
        if part in FOLDERS:
            make_folders(args.out, part, args.fraction)
        else:
            dict(coco=make_coco, voc=make_voc, fss=make_fss)[part](args.out, args.splits, args.fraction)
        print(f'{part} made', flush=True)


if __name__ == '__main__':
    main()
