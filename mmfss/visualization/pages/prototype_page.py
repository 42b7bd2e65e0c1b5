"""Self-contained web page of a run that decomposes the predictions of a prototype model."""
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

import numpy as np

from mmfss.utils.files import atomic_path
from .decomposition import DecompositionCards, css
from .file import open_page, write_head, write_item, write_tail
from .pictures import data_uri, outline, picture_entry, read_picture, round_numbers, shrink, view_size

_SUMMARY_KEYS = ('config', 'checkpoint', 'dataset', 'num_images', 'mean_iou', 'region', 'stage', 'definitions',
                 'failures', 'failure_threshold')
_SOURCE_SIDE = 160

Record = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]
Region = Callable[[int, Arrays], np.ndarray]
Pictures = Callable[[int], dict[str, Any]]


def write_prototype_page(out_dir: Union[str, Path],
                         results: Mapping[str, Any],
                         records: Iterable[Record],
                         region: Region,
                         pictures: Optional[Pictures] = None,
                         first_colour: int = 1,
                         title: str = 'Explained by prototypes',
                         max_images: Optional[int] = 200) -> Path:
    """Write ``index.html``: it needs no network and no other file, and may be mailed or archived.

    It shows the table of the classes, the failures, worst first, and a browser of the images: for each class what makes
    up its mean logit, group by group and prototype by prototype, where they are found, and the patches they are.

    Args:
        out_dir (str | Path): Folder of the run, with ``images/<index, 6 digits>/maps.npz``.
        results (dict): What ``results.json`` holds.
        records (Iterable[dict]): Records of the images, see :class:`PrototypeExplanationLoop`.
        region (Callable): From a class and the arrays of an image to the explained pixels, bool (H, W).
        pictures (Callable, optional): From a prototype to what is known of its source: ``name``, ``cell``,
            ``image_size``, ``activation_box``, ``patch`` and ``picture`` (H, W, 3) RGB or None.
        first_colour (int): Colour number of class 0; 0 for none.
        title (str): Title of the page.
        max_images (int, optional): Images on the page, the first ones. None for all.

    Returns:
        Path: The file.
    """
    out_dir = Path(out_dir)
    page, classes, shown = out_dir / 'index.html', results['classes'], set()
    with atomic_path(page) as temporary, open_page(temporary) as file:
        write_head(file, title, 'overview_images.html', 'Images')
        for number, record in enumerate(records):
            if max_images is None or number < max_images:
                entry = ImageEntry(record, out_dir / 'images' / f'{record["index"]:06d}', classes, region, first_colour)
                write_item(file, entry.data())
                shown |= entry.prototypes
        # Sources of the shown prototypes, figures of all classes
        sources = {} if pictures is None else {index: source_entry(pictures(index)) for index in sorted(shown)}
        summary = {key: results[key] for key in _SUMMARY_KEYS if key in results}
        summary['per_class'] = [dict(entry, colour=entry['class_id'] + first_colour - 1)
                                for entry in results['per_class']]
        write_tail(file, 'images.js', num_classes=max(20, len(classes) + first_colour), summary=round_numbers(summary),
                   sources=sources)
    return page


class ImageEntry:
    """Page data of one image.

    Args:
        record (dict): Its record.
        folder (Path): Folder of ``maps.npz``.
        classes (Sequence[str]): Names of all classes.
        region (Callable): See :func:`write_prototype_page`.
        first_colour (int): Colour number of class 0.

    Attributes:
        prototypes (set[int]): Those that are shown, once :meth:`data` was called.
    """

    def __init__(self, record: Record, folder: Path, classes: list[str], region: Region, first_colour: int) -> None:
        path = folder / 'maps.npz'
        if not path.is_file():
            raise FileNotFoundError(f'Image {record["index"]} has a record, but no "{path}".')
        with np.load(path) as stored:
            self.arrays = {name: stored[name] for name in stored.files}
        self.record, self.classes, self.region, self.first_colour = record, classes, region, first_colour
        self.view = view_size(self.arrays['prediction'].shape)
        self.cards = DecompositionCards(self.arrays['maps'], self.arrays['choices'], self.view, self._css)
        self.prototypes: set[int] = set()

    def data(self) -> dict[str, Any]:
        """Return plain values; pictures are data URIs."""
        record, arrays = self.record, self.arrays
        info = record['info']
        image = arrays['image'] if 'image' in arrays else read_picture(info, info['img_path'])
        ious = {name: hit / union for name, (hit, union) in record['counts'].items()}
        # Classes that are predicted or true
        labels = [np.unique(arrays[key]).tolist() for key in ('prediction', 'target') if key in arrays]
        found = sorted({class_id for part in labels for class_id in part if class_id >= 0})
        entry = dict(
            index=record['index'], name=info['name'] or f'image {record["index"]}',
            classes=[self.classes[c] for c in found if self._number(c) >= 0],
            iou=record['iou'], empty=record['empty'], reason=record['reason'],
            size=self.view, **picture_entry(image, self.view), prediction=self._labels('prediction'),
            legend=[dict(name=self.classes[c], colour=self._number(c), iou=ious.get(self.classes[c])) for c in found],
            maps=self.cards.encoded_maps(),
            explained=[self._card(tree, self.region(tree['class_id'], arrays))
                       for tree in sorted(record['classes'], key=lambda tree: self._number(tree['class_id']) < 0)],
            failures=[self._failure(failure) for failure in record['failures']])
        if 'target' in arrays:
            entry.update(truth=self._labels('target'), ignored=outline(arrays['target'] < 0, self.view))
        return round_numbers(entry)

    def _number(self, class_id: int) -> int:
        """Return the place of a class's colour among those of the page, -1 for the background."""
        return int(class_id) + self.first_colour - 1

    def _labels(self, key: str) -> list[dict[str, Any]]:
        labels = self.arrays[key]
        return [dict(path=outline(labels == c, self.view), colour=self._number(c)) for c in np.unique(labels)
                if c >= 0 and self._number(c) >= 0]

    def _failure(self, failure: Record) -> dict[str, Any]:
        wrong = ((self.arrays['target'] == failure['truth']) & (self.arrays['prediction'] == failure['predicted']))
        return dict(
            class_name=failure['class_name'], iou=failure['iou'], pixels=failure['pixels'],
            truth=self.classes[failure['truth']], predicted=self.classes[failure['predicted']],
            explained=[self._card(tree, wrong, failure['explained']) for tree in failure['explained']])

    def _card(self, tree: Record, pixels: np.ndarray, together: Sequence[Record] = ()) -> dict[str, Any]:
        """Return the data of a class for the script."""
        known = tree.get('iou')
        self.prototypes |= {entry['index'] for group in tree['groups'] for entry in group['prototypes']
                            if 'map' in entry}
        return self.cards.card(
            tree, pixels, tree['class_name'] + ('' if known is None else f': IoU {100 * known:.1f} %'),
            self._css(tree['class_id']), lambda entry: str(entry['index']), together)

    def _css(self, class_id: int) -> str:
        number = self._number(class_id)
        return css(number if number >= 0 else None)


def source_entry(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prototype's source for the page.

    Args:
        source (dict): See :func:`write_prototype_page`.
    """
    view = view_size(source['image_size'])
    top, bottom, left, right = source['activation_box']
    high, wide = source['image_size']
    row, col = source['cell']
    entry = dict(
        name=source['name'], place=f'row {row}, column {col} of the grid; rows {top} to {bottom}, columns {left} to '
        f'{right} of the image', size=view, width=wide, height=high,
        box=[left * view[0] / wide, top * view[1] / high, (right - left) * view[0] / wide,
             (bottom - top) * view[1] / high])
    for key in ('patch', 'picture'):
        entry[key] = None if source[key] is None else data_uri(shrink(source[key], _SOURCE_SIDE), quality=75)
    return round_numbers(entry)
