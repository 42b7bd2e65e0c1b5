"""DeepGlobe, ISIC and chest X-ray as one-line datasets: targets of models that were trained elsewhere."""
from typing import Any, Dict, Optional, Sequence, Tuple, Union

from mmfss.registry import DATASETS
from .class_lists import ClassLists
from .episodic_dataset import EpisodicDataset
from .folds import check_split


class CrossDomainDataset(EpisodicDataset):
    """Base class of target datasets: every split has all classes, there are no folds and no training part.

    Episodes are those of :class:`PublishedProtocolSampler` (``benchmark='cross_domain'``) by default. The lists of
    episodes published with AffEx are read by naming the file::

        sampler=dict(type='FixedEpisodeSampler', path='data/episodes/val_isic_N1K5.csv'), num_shots=5

    Args:
        data_root (str): Folder of the dataset.
        split (str): ``'train'``, ``'val'`` or ``'test'``: the same images and classes.
        fold (int): 0; there is one division only.
        class_ids (Sequence[int | str], optional): Some of the classes, as names or ids; all by default.
        **kwargs: See :class:`EpisodicDataset`.
    """

    INDEX = ''
    NAME = ''
    # How the lists of episodes published with AffEx name images and classes.
    EPISODE_FILE: Dict[str, Any] = {}
    # Number of images of each class in the complete data, where it is published.
    NUM_IMAGES: Optional[Tuple[int, ...]] = None

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: int = 0,
                 class_ids: Optional[Sequence[Union[int, str]]] = None,
                 sampler: Optional[Dict] = None,
                 dataset_name: Optional[str] = None,
                 **kwargs: Any) -> None:
        check_split(split)
        if fold != 0:
            raise ValueError(f'Unknown fold {fold!r}; known: [0] ({self.NAME} is not divided).')
        super().__init__(
            dict(type=self.INDEX, data_root=data_root),
            pipeline,
            split,
            fold,
            class_ids=class_ids,
            sampler=sampler or dict(type='PublishedProtocolSampler', benchmark='cross_domain'),
            dataset_name=dataset_name or self.NAME,
            **kwargs)

    def _classes_of_split(self, folds: Any, class_ids: Optional[Sequence[Union[int, str]]]) -> Tuple[int, ...]:
        return super()._classes_of_split(None, range(len(self.index.classes)) if class_ids is None else class_ids)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        lists = super()._load_lists(list_files, min_pixels)
        counts = tuple(len(lists.pool(class_id)) for class_id in range(len(self.index.classes)))
        lists.official = list_files is None and counts == self.NUM_IMAGES
        return lists

    def _build_sampler(self, sampler: Optional[Dict], *args: Any) -> Any:
        if sampler is not None and str(sampler.get('type')).endswith('FixedEpisodeSampler'):
            sampler = {**self.EPISODE_FILE, **sampler}
        return super()._build_sampler(sampler, *args)


@DATASETS.register_module()
class DeepGlobeDataset(CrossDomainDataset):
    """Draw episodes of DeepGlobe land cover, six classes; layout: :class:`DeepGlobeIndex`.

    Data made by the released preprocessing script (``--variant released``) has no mask of water;
    ``sampler.small_classes='skip'`` then tests the other five classes.

    Args:
        data_root (str): The folder of ``image`` and ``filter_mask``.
        **kwargs: See :class:`CrossDomainDataset`.
    """

    INDEX = 'DeepGlobeIndex'
    NAME = 'DeepGlobe'
    EPISODE_FILE = dict(class_numbers=0, rename={'_mask_': '_sat_', '.png': '.jpg'})


@DATASETS.register_module()
class ISICDataset(CrossDomainDataset):
    """Draw episodes of ISIC 2018 skin lesions, three classes; layout: :class:`ISICIndex`.

    Data made by the released preprocessing script (``--variant released``) has no image of seborrheic keratosis;
    ``sampler.small_classes='skip'`` then tests the other two classes.

    Args:
        data_root (str): The folder of ``ISIC2018_Task1-2_Training_Input`` and ``ISIC2018_Task1_Training_GroundTruth``.
        **kwargs: See :class:`CrossDomainDataset`.
    """

    INDEX = 'ISICIndex'
    NAME = 'ISIC'
    EPISODE_FILE = dict(class_numbers=1)
    NUM_IMAGES = (1867, 519, 208)


@DATASETS.register_module()
class LungDataset(CrossDomainDataset):
    """Draw episodes of lungs in chest X-rays, one class; layout: :class:`LungIndex`.

    Args:
        data_root (str): The folder of ``CXR_png`` and ``masks``.
        **kwargs: See :class:`CrossDomainDataset`.
    """

    INDEX = 'LungIndex'
    NAME = 'Chest X-ray'
    EPISODE_FILE = dict(class_numbers=1, rename={'_mask.png': '.png'})
    NUM_IMAGES = (704, )
