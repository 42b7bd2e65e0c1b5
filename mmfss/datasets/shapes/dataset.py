"""The embedded shapes benchmark: sixty-four classes of textured objects, drawn on first use."""
import os
from typing import Any, Dict, Optional, Sequence, Union

from mmfss.registry import DATASETS
from ..class_indices import CocoInstanceIndex
from ..class_lists import ClassLists
from ..episodic_dataset import EpisodicDataset
from .classes import CLASSES
from .files import PARTS, ShapesSpec, ensure_shapes

SHAPES_CLASSES = tuple(shape.name for shape in CLASSES)


@DATASETS.register_module()
class ShapesIndex(CocoInstanceIndex):
    """Index the shapes dataset, which is drawn under ``data_root`` if it does not exist (about ten seconds on
    two cores).

    .. code-block:: none

        data/shapes                                data_root
        ├── shapes.json                            version, seed, sizes, SHA-256 of the pixels; written last
        ├── annotations/instances_{train,val}.json COCO instances, masks as run lengths
        └── images/{train,val}/000001.jpg ...

    Every image shows three objects of different families on a textured ground with clutter; objects may hide up to
    40 % of each other. A class is an outline with a surface pattern ("dotted square", "dark brick heart": light bricks
    on dark mortar); colours, size, place, turn, proportions, pattern scale, light and noise are random, so that
    neither colour nor place tells the class. Families of four related classes: :mod:`mmfss.datasets.shapes.classes`.

    Args:
        data_root (str): Folder of the dataset.
        part (str): ``'train'`` or ``'val'``.
        num_train (int): Images of the train part.
        num_val (int): Images of the val part.
        side (int): Side of the square images in pixels.
        seed (int): Seed of all random choices.

    Raises:
        FileExistsError: If the folder holds something else, or shapes made with other numbers.
        ValueError: If an argument is out of range.
    """

    def __init__(self,
                 data_root: str = 'data/shapes',
                 part: str = 'train',
                 num_train: int = ShapesSpec().num_train,
                 num_val: int = ShapesSpec().num_val,
                 side: int = ShapesSpec().side,
                 seed: int = ShapesSpec().seed) -> None:
        if part not in PARTS:
            raise ValueError(f'part must be one of {PARTS}, got {part!r}.')
        root = ensure_shapes(data_root, ShapesSpec(num_train, num_val, side, seed))
        super().__init__(os.fspath(root), f'annotations/instances_{part}.json', f'images/{part}')


@DATASETS.register_module()
class ShapesDataset(EpisodicDataset):
    """Draw episodes of the shapes: four folds of sixteen classes, fold f tests the classes c with ``c % 4 == f``.

    Training draws on the train images that show no object of a tested class, not even as background (about 42 % of
    them), so that the tested classes are new to the model in every respect. Validation and test draw on the val images,
    where objects of all classes mix.

    Args:
        data_root (str): Folder of the data, made if it does not exist; see :class:`ShapesIndex`.
        split (str): ``'train'``, ``'val'`` or ``'test'`` (the same images and classes as val).
        fold (int, optional): 0..3; None uses all classes and images in every split.
        hide_tested (bool): Leave images with tested classes out of training. False is the custom of PASCAL-5i and
            COCO-20i: such objects are background there.
        index (dict, optional): Further arguments of :class:`ShapesIndex`.
        **kwargs: See :class:`EpisodicDataset`.

    Example:
        >>> import tempfile
        >>> from mmfss.datasets import ShapesDataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dataset = ShapesDataset(
        ...         f'{folder}/shapes', pipeline=[], num_episodes=10,
        ...         index=dict(num_train=4, num_val=12, side=32),  # by default 64 classes in thousands of images
        ...         sampler=dict(type='UniformEpisodeSampler', small_classes='skip'))
        ...     info = dataset[0]
        >>> len(dataset), len(info['support']), info['query']['name'].endswith('.jpg')
        (10, 1, True)
    """

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: Optional[int] = 0,
                 hide_tested: bool = True,
                 index: Optional[Dict] = None,
                 dataset_name: str = 'shapes',
                 **kwargs: Any) -> None:
        self.hide_tested = hide_tested
        part = 'train' if split == 'train' else 'val'
        super().__init__(
            dict(dict(type='ShapesIndex', data_root=data_root, part=part), **(index or {})),
            pipeline,
            split,
            fold,
            folds=dict(num_folds=4, scheme='modulo'),
            dataset_name=dataset_name,
            **kwargs)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        lists = super()._load_lists(list_files, min_pixels)
        if self.split != 'train' or not self.hide_tested:
            return lists
        tested = [class_id for class_id in range(len(self.index.classes)) if class_id not in self.class_ids]
        return lists.without_images_of(self.index.build_lists(tested), 'tested classes')
