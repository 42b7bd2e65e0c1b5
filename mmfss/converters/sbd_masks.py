"""Masks of the Semantic Boundaries Dataset as PNGs beside those of VOC 2012."""
import io
import re
import shutil
from pathlib import Path

from PIL import Image
from scipy.io import loadmat

from mmfss.utils.download import DownloadError
from mmfss.utils.files import PathLike, write_text
from mmfss.utils.progress import Progress
from .archives import archive_members

NUM_IMAGES = 11355


def merge_sbd(archive: PathLike, voc_root: PathLike) -> int:
    """Make ``SegmentationClassAug`` and its image sets from VOC 2012 and the archive of SBD.

    An image that both have keeps the mask of VOC 2012, with its ignored border of 255; masks of SBD have none. The
    image sets are ``aug.txt`` (images of SBD alone: neither train nor val of VOC 2012) and ``trainaug.txt`` (train and
    aug). The archive is read in one pass, without unpacking it; an interrupted call continues.

    Args:
        archive (str | Path): ``benchmark.tgz`` of SBD.
        voc_root (str | Path): The folder ``VOCdevkit/VOC2012``.

    Returns:
        int: Number of masks in ``SegmentationClassAug`` that are from SBD.

    Raises:
        FileNotFoundError: If VOC 2012 is not there.
        DownloadError: If the archive is damaged, or holds no masks.
    """
    root, own = Path(voc_root), voc_masks(voc_root)
    target = root / 'SegmentationClassAug'
    target.mkdir(exist_ok=True)
    for stem, path in own.items():
        _copy(path, target / f'{stem}.png')
    with Image.open(next(iter(own.values()))) as image:
        palette = image.getpalette() or []
    # Masks of SBD, where VOC 2012 has none
    stems, progress = set(), Progress(NUM_IMAGES, 'merging masks of SBD', 'images')
    with archive_members(archive) as members:
        for member in members:
            found = re.search(r'(?:^|/)dataset/cls/(\w+)\.mat$', member.name)
            if found is None:
                continue
            stems.add(found[1])
            progress.update()
            path = target / f'{found[1]}.png'
            if found[1] not in own and not path.is_file():
                _write_mask(member.open().read(), path, palette)
    if not stems:
        raise DownloadError(f'The archive "{archive}" holds no masks (dataset/cls/*.mat): delete it, and try again.')
    _write_image_sets(root / 'ImageSets' / 'Segmentation', stems)
    return len(stems - set(own))


def voc_masks(voc_root: PathLike) -> dict[str, Path]:
    """List the masks of VOC 2012.

    Args:
        voc_root (str | Path): The folder ``VOCdevkit/VOC2012``.

    Returns:
        dict: Names of the images to the files.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder = Path(voc_root) / 'SegmentationClass'
    masks = {path.stem: path for path in folder.glob('*.png')}
    if not masks:
        raise FileNotFoundError(f'SBD completes VOC 2012, but "{folder}" has no masks: run "mmfss download voc2012 '
                                'sbd".')
    return masks


def _copy(source: Path, target: Path) -> None:
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        temporary = target.with_name(f'.{target.name}.part')
        shutil.copyfile(source, temporary)
        temporary.replace(target)


def _write_mask(content: bytes, path: Path, palette: list[int]) -> None:
    labels = loadmat(io.BytesIO(content))['GTcls'][0]['Segmentation'][0]
    image = Image.fromarray(labels)
    image.putpalette(palette + [0] * (3 * 256 - len(palette)))
    temporary = path.with_name(f'.{path.name}.part')
    image.save(temporary, 'PNG')
    temporary.replace(path)


def _write_image_sets(folder: Path, stems: set[str]) -> None:
    train, val = (set((folder / f'{name}.txt').read_text().split()) for name in ('train', 'val'))
    aug = stems - train - val
    for name, images in (('aug', aug), ('trainaug', aug | train)):
        write_text(''.join(f'{stem}\n' for stem in sorted(images)), folder / f'{name}.txt')
