"""LVIS-92i on a small file in the format of LVIS v1, and mixtures of datasets."""
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.datasets import ClassLists, EpisodeMixture, EpisodicDataset, LVIS92iDataset, LVIS92iSampler
from mmfss.datasets.lvis_dataset import lvis_folds
from mmfss.engine.cross_validation import protocol_deviations
from tests.tiny.data import PIPELINE, write_class_folders

SIDE = 24
# Category 3 has one image, category 7 two, all others three and more. Ids have gaps and are not in order.
CATEGORIES = [30, 7, 3, *range(40, 60)]


def square(left: int, top: int, side: int = 6) -> list[list[float]]:
    return [[left, top, left + side, top, left + side, top + side, left, top + side]]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in both folders of COCO 2017, named by their address; two instances of each category in an image."""
    root = tmp_path_factory.mktemp('lvis')
    images, annotations = [], []
    for number in range(8):
        folder = 'val2017' if number % 2 else 'train2017'
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(np.full((SIDE, SIDE, 3), 20 * number, np.uint8)).save(root / folder / f'{number:012d}.jpg')
        images.append(dict(id=number, coco_url=f'http://images.example.org/{folder}/{number:012d}.jpg', height=SIDE,
                           width=SIDE, not_exhaustive_category_ids=[], neg_category_ids=[]))
    for category in CATEGORIES:
        count = {3: 1, 7: 2}.get(category, 3 + category % 4)
        for number in range(count):
            for left in (0, 12):
                annotations.append(dict(id=len(annotations), image_id=number, category_id=category, area=36,
                                        bbox=[left, 2, 6, 6], segmentation=square(left, 2)))
    categories = [dict(id=i, name=f'class{i}', synset=f'class{i}.n.01', frequency='r') for i in CATEGORIES]
    content = dict(info={}, licenses=[], images=images, annotations=annotations, categories=categories)
    (root / 'lvis_v1_val.json').write_text(json.dumps(content))
    return root


def build(root: Path, **options) -> LVIS92iDataset:
    return LVIS92iDataset(str(root), PIPELINE, **options)


class TestLVIS:

    def test_folds(self, root: Path) -> None:
        names = [set(build(root, fold=fold).index.classes[i] for i in build(root, fold=fold).class_ids)
                 for fold in range(10)]
        kept = sorted(set(CATEGORIES) - {3})  # with more than one image
        expected = [{f'class{kept[fold + 10 * v]}' for v in range(len(kept) // 10)} for fold in range(10)]
        assert names == expected and all(len(group) == 2 for group in names)
        # With two shots category 7 has too few images, and the others move up.
        kept = sorted(set(CATEGORIES) - {3, 7})
        dataset = build(root, fold=0, num_shots=2)
        assert [dataset.index.classes[i] for i in dataset.class_ids] == [f'class{kept[0]}', f'class{kept[10]}']
        assert len(build(root, fold=None).class_ids) == 20

    def test_episodes(self, root: Path) -> None:
        dataset = build(root, fold=1, num_shots=2)
        assert len(dataset) == 2300 and dataset.metainfo['fold_class_ids'] == list(dataset.class_ids)
        rng = np.random.RandomState(0)
        for index in range(50):
            episode = dataset.episode(index)
            class_id = dataset.class_ids[index % 2]
            pool = dataset.lists.images_of(class_id)
            query = pool[rng.permutation(len(pool))[0]]
            others = [name for name in pool if name != query]
            expected = [others[place] for place in rng.permutation(len(others))[:2]]
            assert episode == ((class_id, ), query, (tuple(expected), ))
            assert len({query, *expected}) == 3

    def test_mask_is_the_union_of_instances(self, root: Path) -> None:
        dataset = build(root)
        name = dataset.lists.images_of(dataset.class_ids[0])[0]
        assert name.split('/')[0] in ('train2017', 'val2017')
        mask = dataset.index.load_class_mask(name, dataset.class_ids[0])
        assert mask.sum() == 2 * 36 and mask[2:8, 0:6].all() and mask[2:8, 12:18].all()
        item = dataset[0]
        assert item['inputs']['query'].shape == (3, 64, 64)
        assert item['data_samples'].class_names == [dataset.index.classes[dataset.class_ids[0]]]

    def test_reports_say_that_lists_are_ours(self, root: Path) -> None:
        reasons = protocol_deviations(build(root))
        assert 'built from annotations' in reasons[0] and 'LVIS92iSampler' in reasons[1]

    def test_errors(self, root: Path) -> None:
        with pytest.raises(ValueError, match='no split "train"'):
            build(root, split='train')
        with pytest.raises(ValueError, match='only 5 categories have the more than 5 images'):
            build(root, num_shots=5)
        with pytest.raises(ValueError, match='Unknown fold 10'):
            build(root, fold=10)
        lists = ClassLists.from_dict({0: ['a', 'b'], 1: ['a', 'b', 'c']})
        with pytest.raises(ValueError, match='2-shot episodes need at least 3'):
            LVIS92iSampler(lists, [0, 1], num_shots=2)
        assert len(lvis_folds(ClassLists.from_dict({i: ['a', 'b'] for i in range(29)}), 1)[9]) == 2


class TestMixture:

    @pytest.fixture(scope='class')
    @classmethod
    def parts(cls, tmp_path_factory: pytest.TempPathFactory) -> list[EpisodicDataset]:
        roots = [write_class_folders(tmp_path_factory.mktemp(name), classes, count)
                 for name, classes, count in (('a', ('ant', 'bee'), 2), ('b', ('cat', 'dog'), 6))]
        options = dict(folds=dict(num_folds=1), sampler=dict(type='UniformEpisodeSampler', seed=3))
        return [EpisodicDataset(dict(type='ImageFolderIndex', data_root=str(root)), PIPELINE, 'train', None,
                                dataset_name=root.name, **options) for root in roots]

    def test_by_number_of_images(self, parts: list[EpisodicDataset]) -> None:
        mixture = EpisodeMixture(parts)
        assert mixture.weights.tolist() == [0.25, 0.75] and len(mixture) == 4 + 12
        chosen = np.bincount([mixture.choose(index) for index in range(800)])
        assert chosen[0] == pytest.approx(200, abs=40)
        assert [mixture.choose(i) for i in range(50)] != [EpisodeMixture(parts, seed=1).choose(i) for i in range(50)]

    def test_an_episode_is_that_of_its_dataset(self, parts: list[EpisodicDataset]) -> None:
        mixture = EpisodeMixture(parts, weights=[3, 1])
        assert mixture.weights.tolist() == [0.75, 0.25]
        for index in (0, 7, 1000):
            part = parts[mixture.choose(index)]
            assert mixture.episode(index) == part.episode(index)
            assert (mixture[index]['inputs']['query'] == part[index]['inputs']['query']).all()
        assert mixture.metainfo['dataset_name'] == ' + '.join(part.dataset_name for part in parts)

    @pytest.mark.parametrize(('weights', 'message'), [([1], 'as many weights'), ([1, 0], 'above 0')])
    def test_errors(self, parts: list[EpisodicDataset], weights: list, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            EpisodeMixture(parts, weights)
        two = EpisodicDataset(parts[0].index, PIPELINE, 'train', None, dict(num_folds=1), num_ways=2)
        with pytest.raises(ValueError, match='same numbers of ways and shots'):
            EpisodeMixture([parts[0], two])
