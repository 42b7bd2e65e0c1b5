"""Check of all images and masks of a dataset, which lists all faults before a long job."""
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmseg.datasets import BaseSegDataset
from torch.utils.data import DataLoader, Dataset

from mmfss.registry import DATASETS
from .class_lists import ClassLists
from .episodic_dataset import EpisodicDataset
from .images import read_image, read_label_map
from .label_folder_dataset import LabelFolderDataset
from .transforms import ForEachImage, LoadClassMask, LoadEpisodeImage

# Loaders, which also compare what they load; the others only change what was loaded.
_LOADERS = (LoadEpisodeImage, LoadClassMask)


class Fault(NamedTuple):
    """Describe a fault that would stop a job.

    Attributes:
        kind (str): ``'image'`` or ``'mask'`` (the file cannot be used), ``'missing'`` (it is not there, or has no
            partner), ``'class'`` (too few images) or ``'data'`` (lists, episodes, folders).
        image (str): Name of the image; empty if it is not about one.
        class_name (str): Class for which the file is needed; empty for several.
        file (str): The file or folder; empty if it is not about one.
        problem (str): What is wrong.
    """
    kind: str
    image: str
    class_name: str
    file: str
    problem: str


def check_dataset(cfg: Dict[str, Any],
                  jobs: int = 0,
                  progress: Optional[Callable[[Iterable, int], Iterable]] = None) -> Tuple[int, List[Fault]]:
    """Read every image and mask of a dataset once and list all faults.

    Files are read as training and tests read them, by the loading transforms of the config. Memory does not grow with
    the number of files.

    .. code-block:: python

        images, faults = check_dataset(Config.fromfile('my_config.py').train_dataloader.dataset, jobs=4)

    Args:
        cfg (dict): Config of the dataset; one that wraps another (``dataset``) is looked into.
        jobs (int): Processes that read; 0 reads in this one.
        progress (Callable, optional): Wraps the iteration over chunks of images, given their number.

    Returns:
        tuple: Number of images read, and the faults in the order of the lists.
    """
    while isinstance(cfg.get('dataset'), dict):
        cfg = cfg['dataset']
    is_episodic = issubclass(DATASETS.get(cfg['type']), EpisodicDataset)
    try:
        reader = _EpisodicReader(cfg) if is_episodic else _SegmentationReader(cfg)
    except (OSError, ValueError) as error:
        return 0, [Fault('data', '', '', '', str(error))]
    loader = DataLoader(reader, batch_size=16, num_workers=jobs, collate_fn=_concatenate)
    chunks = loader if progress is None else progress(loader, len(loader))
    faults = reader.faults + [fault for found in chunks for fault in found]
    return len(reader), faults + reader.faults_of_classes(faults)


def _concatenate(found: List[List[Fault]]) -> List[Fault]:
    return sum(found, [])


class _EpisodicReader(Dataset):
    """Return the faults of the i-th listed image and its masks as item i."""

    def __init__(self, cfg: Dict[str, Any]) -> None:
        self.data = DATASETS.build({'pipeline': [], **cfg, 'check_files': False, 'with_sampler': False})
        index, lists = self.data.index, self.data.lists
        steps = [inner for step in self.data.pipeline.transforms if isinstance(step, ForEachImage)
                 for inner in step.transforms.transforms]
        self.load_image, self.load_mask = (
            next((step for step in steps if isinstance(step, loader)), loader()) for loader in _LOADERS)
        self.faults = [Fault('missing', '', '', path, problem) for path, problem in getattr(index, 'unmatched', ())]
        absent = index.missing_files(lists)
        self.faults += [Fault('missing', '', '', path, f'The {kind} is listed ({lists.source}), but does not exist.')
                        for kind, paths in absent.items() for path in paths]
        self.absent = {path for paths in absent.values() for path in paths}
        # Classes of each image in the order of their ids; a list may name an image twice.
        pairs = np.unique(np.stack([lists.images, lists.class_ids], axis=1), axis=0)
        self.places, starts = np.unique(pairs[:, 0], return_index=True)
        self.classes_of = np.split(pairs[:, 1], starts[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> List[Fault]:
        index, name = self.data.index, self.data.lists.name(self.places[item])
        classes = self.classes_of[item].tolist()
        faults: List[Fault] = []

        def attempt(load: Callable[[], Any], kind: str, path: str, class_name: str = '') -> Any:
            try:
                return None if path in self.absent else load()
            except (OSError, ValueError, MemoryError) as error:
                faults.append(Fault(kind, name, class_name, path, str(error)))

        info = self.data.image_info(name, tuple(classes), 'support')
        info = attempt(lambda: self.load_image(dict(info)), 'image', info['img_path']) or info
        for class_id in classes:
            own = dict(info, mask_class_ids=(class_id, ), seg_fields=[])
            attempt(partial(self.load_mask, own), 'mask', index.mask_path(name, class_id), index.classes[class_id])
        mask = index.mask_path(name, classes[0])
        if index.stores_numbers and not any(fault.file == mask for fault in faults):
            attempt(partial(index.class_pixels, name), 'mask', mask)
        return faults

    def faults_of_classes(self, faults: Sequence[Fault]) -> List[Fault]:
        """Whether episodes can be drawn from the images without faults."""
        lists, index = self.data.lists, self.data.index
        bad = {(fault.image, fault.class_name) for fault in faults}
        # Leave out what has a fault
        keep = np.ones(len(lists), bool)
        for item, (class_id, image) in enumerate(zip(lists.class_ids.tolist(), lists.images.tolist())):
            name = lists.name(image)
            files = {index.image_path(name), index.mask_path(name, class_id)} if self.absent else set()
            keep[item] = not (bad & {(name, ''), (name, index.classes[class_id])} or self.absent & files)
        self.data.lists = ClassLists(lists.class_ids[keep], lists.names[lists.images[keep]],
                                     f'{lists.source}, files without faults')
        # Are there images enough for episodes?
        try:
            self.data.build_sampler()
        except FileNotFoundError as error:
            return [Fault('data', '', '', '', str(error))]
        except ValueError as error:
            return [Fault('class', '', '', '', str(error))]
        return []


class _SegmentationReader(Dataset):
    """Return the faults of the i-th image of an MMSegmentation dataset and its labels as item i."""

    def __init__(self, cfg: Dict[str, Any]) -> None:
        own_check = dict(check_files=False) if issubclass(DATASETS.get(cfg['type']), LabelFolderDataset) else {}
        self.data = DATASETS.build({**cfg, 'pipeline': [], **own_check})
        if not isinstance(self.data, BaseSegDataset):
            raise ValueError(f'The dataset is a {type(self.data).__name__}: only episodic ones and those of '
                             'MMSegmentation can be checked.')
        empty = Fault('data', '', '', str(self.data.data_prefix), 'There is no image.')
        self.faults = [] if len(self.data) else [empty]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: int) -> List[Fault]:
        info = self.data.get_data_info(item)
        image, faults, shapes = info['img_path'], [], []
        for kind, path in (('image', image), ('mask', info.get('seg_map_path'))):
            try:
                if path is not None:
                    shapes.append(self._read(kind, path))
            except FileNotFoundError:
                faults.append(Fault('missing', image, '', path, f'The {kind} does not exist.'))
            except (OSError, ValueError, MemoryError) as error:
                faults.append(Fault(kind, image, '', path, str(error)))
        if len(set(shapes)) > 1:
            faults.append(Fault('mask', image, '', info['seg_map_path'],
                                f'The mask has size {shapes[1]} (H, W), its image {shapes[0]}.'))
        return faults

    def _read(self, kind: str, path: str) -> Tuple[int, ...]:
        """Return the size (H, W) of a readable file."""
        if kind == 'image':
            return read_image(path).shape[:2]
        labels = read_label_map(path)
        allowed = len(self.data.metainfo['classes']) + bool(self.data.reduce_zero_label)
        wrong = np.setdiff1d(labels, [*range(allowed), self.data.ignore_index])
        if wrong.size:
            raise ValueError(f'The mask {path} holds the value {wrong[0]}; allowed are 0..{allowed - 1} and '
                             f'{self.data.ignore_index} (ignored).')
        return labels.shape

    def faults_of_classes(self, faults: Sequence[Fault]) -> List[Fault]:
        """Return an empty result: images are not counted by class."""
        return []
