"""DeepGlobe, ISIC, chest X-ray and FSS-1000 as targets: layouts, the published episodes, episode files, bad data."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmfss.datasets import (
    ClassLists,
    FixedEpisodeSampler,
    ISICDataset,
    Pascal5iDataset,
    PublishedProtocolSampler,
)
from mmfss.datasets.split_lists import write_coco_list
from mmfss.registry import DATASETS
from tests.test_datasets.cross_domain_sets import SETS, build
from tests.test_datasets.layouts import (
    PIPELINE,
    SIZE,
    boxes_mask,
    save_mask,
    write_deepglobe,
    write_fss,
    write_lung,
    write_pascal_splits,
    write_voc,
)

DATA = Path(__file__).parents[1] / 'data' / 'datasets'
CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
GOLDEN = json.loads((DATA / 'cross_domain_episodes.json').read_text())


def listed_file(name, dataset, image, class_id):
    """Folder and file that the official loader lists for an image."""
    path = dataset.index.image_path(image) if name == 'isic' else dataset.index.mask_path(image, class_id)
    return '/'.join(Path(path).parts[-2:])


@pytest.mark.parametrize('shots', [1, 5])
@pytest.mark.parametrize('name', SETS)
class TestPublishedEpisodes:
    def sampled(self, name, dataset, indices):
        for index in indices:
            episode = dataset.episode(index)
            (class_id,), (supports,) = episode.class_ids, episode.supports
            files = [listed_file(name, dataset, image, class_id) for image in (episode.query, *supports)]
            yield [files[0], files[1:], class_id]

    def test_golden(self, name, shots, roots):
        golden = GOLDEN[f'{name}_{shots}shot_seed0']
        dataset = build(name, roots[name], num_shots=shots, num_episodes=golden['length'])
        assert len(dataset) == 600
        indices = [entry[0] for entry in golden['episodes']]
        assert list(self.sampled(name, dataset, indices)) == [entry[1:] for entry in golden['episodes']]

    def test_default_length_and_other_seeds(self, name, shots, roots):
        dataset = build(name, roots[name], num_shots=shots)
        assert len(dataset) == 1200 and dataset.metainfo['seed'] == 0
        assert len(build(name, roots[name], num_shots=shots, num_episodes=1000)) == 1000
        other = build(name, roots[name], num_shots=shots, seed=1)
        assert [other.episode(i) for i in range(20)] != [dataset.episode(i) for i in range(20)]


@pytest.mark.parametrize('shots', [1, 5])
def test_golden_episodes_of_fss(shots, monkeypatch):
    """Drawn by asking the official loader for eight of the 2400 indices only, so the stream runs over these."""
    with np.load(DATA / 'published_episodes.npz') as stored:
        categories = stored['fss_categories'].tobytes().decode().split('\n')
    files = sorted(f'{number}.jpg' for number in range(1, 11))
    lists = ClassLists.from_dict({760 + i: [f'{name}/{file}' for file in files] for i, name in enumerate(categories)})
    sampler = PublishedProtocolSampler(lists, range(760, 1000), num_shots=shots, benchmark='fss')
    golden = GOLDEN[f'fss_{shots}shot_seed0']
    assert len(sampler) == golden['length'] == 2400
    monkeypatch.setattr(sampler, '_order', lambda: [entry[0] for entry in golden['episodes']])
    for place, (_, query, supports, class_id) in enumerate(golden['episodes']):
        assert sampler[place] == ((class_id,), query, (tuple(supports),))


class TestShuffledOrder:
    LISTS = ClassLists.from_dict({c: [f'{c}/{i}' for i in range(9)] for c in range(3)})

    def literal(self, length, order_seed):
        """The published loop: a shuffled sampler asks for indices, NumPy's global stream serves them in that order."""
        order = torch.randperm(length, generator=torch.Generator().manual_seed(order_seed)).tolist()
        rng = np.random.RandomState(0)
        for index in order:
            pool = [f'{index % 3}/{i}' for i in range(9)]
            query = rng.choice(pool, 1, replace=False)[0]
            supports = []
            while len(supports) < 2:
                name = rng.choice(pool, 1, replace=False)[0]
                if name != query:
                    supports.append(name)
            yield ((index % 3,), query, (tuple(supports),))

    @pytest.mark.parametrize('order_seed', [0, 3])
    def test_is_the_published_loop(self, order_seed):
        sampler = PublishedProtocolSampler(
            self.LISTS, range(3), num_shots=2, benchmark='cross_domain', num_episodes=60, shuffle_seed=order_seed
        )
        assert list(pickle.loads(pickle.dumps(sampler))) == list(self.literal(60, order_seed))
        assert [episode.class_ids[0] for episode in sampler] != [index % 3 for index in range(60)]

    def test_listed_queries_are_permuted(self):
        plain, shuffled = (
            PublishedProtocolSampler(self.LISTS, range(3), benchmark='fss', shuffle_seed=seed) for seed in (None, 0)
        )
        assert sorted(episode.query for episode in shuffled) == sorted(episode.query for episode in plain)
        assert [episode.query for episode in shuffled] != [episode.query for episode in plain]

    def test_bad_seed(self):
        with pytest.raises(ValueError, match="shuffle_seed must be an integer or None, got 'yes'"):
            PublishedProtocolSampler(self.LISTS, range(3), benchmark='cross_domain', shuffle_seed='yes')


class TestLayouts:
    def test_deepglobe(self, roots, tmp_path):
        index = build('deepglobe', roots['deepglobe']).index
        assert index.classes == ('agriculture', 'urban', 'rangeland', 'forest', 'water', 'barren')
        assert index.images_of(0)[:2] == ['1000_sat_00.jpg', '1007_sat_35.jpg'] and len(index.images_of(5)) == 14
        assert index.load_class_mask('1000_sat_00.jpg', 0).sum() == 101  # 128 counts, 127 does not

    def test_a_tile_of_two_classes(self, tmp_path):
        root = write_deepglobe(tmp_path)
        save_mask(root / 'filter_mask' / '2' / '1000_mask_00.png', boxes_mask([(255, 14, 0, 19, 30)]))
        dataset = build('deepglobe', root, num_ways=2, num_episodes=400)
        label_map = dataset.index.load_label_map('1000_sat_00.jpg', (4, 1, 0))
        assert [(label_map == label).sum() for label in range(4)] == [SIZE[0] * SIZE[1] - 251, 0, 150, 101]
        assert not dataset.index.load_label_map('1000_sat_00.jpg', (5,)).any()
        assert dataset.index.class_pixels('1000_sat_00.jpg') == {0: 101, 1: 150}
        index = next(i for i in range(400) if dataset.episode(i).query == '1000_sat_00.jpg'
                     and set(dataset.episode(i).class_ids) == {0, 1})
        assert set(dataset[index]['data_samples'].gt_sem_seg.data.unique().tolist()) == {0, 1, 2}

    def test_isic(self, roots):
        dataset = build('isic', roots['isic'], num_shots=2)
        assert dataset.index.classes == ('nevus', 'melanoma', 'seborrheic_keratosis')
        assert dataset.lists.images_of(2)[0] == '3/ISIC_0030000.jpg' and len(dataset.lists) == 11 + 12 + 13
        assert dataset[2]['data_samples'].class_names == ['seborrheic_keratosis']

    def test_lung(self, roots):
        dataset = build('lung', roots['lung'])
        assert dataset.lists.images_of(0)[0] == 'CHNCXR_0000_0.png' and len(dataset.lists) == 15
        assert 'CHNCXR_0100_0.png' not in dataset.index.image_names()
        item = dataset[0]
        assert item['inputs']['query'].shape == (3, 32, 40) and item['inputs']['query'].unique().numel() > 50
        assert set(item['data_samples'].gt_sem_seg.data.unique().tolist()) == {0, 1}

    @pytest.mark.parametrize('name, classes', [('deepglobe', 6), ('isic', 3), ('lung', 1)])
    def test_metainfo(self, name, classes, roots):
        meta = build(name, roots[name]).metainfo
        assert meta['fold_class_ids'] == list(range(classes)) and meta['fold'] == 0
        assert meta['lists'].startswith('all images below') and meta['lists_official'] is False
        assert meta['dataset_name'] == dict(deepglobe='DeepGlobe', isic='ISIC', lung='Chest X-ray')[name]

    def test_complete_data_is_recognised(self, roots, tmp_path, monkeypatch):
        monkeypatch.setattr(ISICDataset, 'NUM_IMAGES', (11, 12, 13))
        assert build('isic', roots['isic']).metainfo['lists_official'] is True
        lists = build('isic', roots['isic']).lists
        write_coco_list({c: lists.images_of(c)[::-1] for c in range(3)}, tmp_path / 'own.json')
        own = build('isic', roots['isic'], list_files=str(tmp_path / 'own.json'))
        assert own.metainfo['lists_official'] is False and own.lists.images_of(0) == lists.images_of(0)[::-1]

    def test_min_pixels(self, tmp_path):
        root = write_lung(tmp_path)
        save_mask(root / 'masks' / 'MCUCXR_0000_0.png', boxes_mask([(255, 0, 0, 2, 2)]))
        assert len(build('lung', root).lists) == 15 and len(build('lung', root, min_pixels=5).lists) == 14

    def test_some_classes(self, roots):
        dataset = build('isic', roots['isic'], class_ids=['melanoma'])
        assert {dataset.episode(i).class_ids for i in range(5)} == {(1,)}


class TestEpisodeFile:
    def write(self, path, rows):
        path.write_text('image_ids,classes\n' + ''.join(f'"{images}","{classes}"\n' for images, classes in rows))
        return str(path)

    ROOT = 'data/ISIC_cls/ISIC/ISIC2018_Task1-2_Training_Input'

    @pytest.mark.parametrize(
        'name, images, classes, episode',
        [
            (
                'deepglobe',
                ['data/Deepglobe/filter_mask/5/5007_mask_35.png', 'data/Deepglobe/filter_mask/5/5014_mask_04.png'],
                [[0, 4], [0, 4]],
                ((4,), '5007_sat_35.jpg', (('5014_sat_04.jpg',),)),
            ),
            (
                'isic',
                [f'{ROOT}/3/ISIC_0030002.jpg', f'{ROOT}/3/ISIC_0030001.jpg'],
                [[3], [3]],
                ((2,), '3/ISIC_0030002.jpg', (('3/ISIC_0030001.jpg',),)),
            ),
            (
                'lung',
                ['data/LungSegmentation/masks/CHNCXR_0001_1_mask.png', 'data/LungSegmentation/masks/MCUCXR_0002_0.png'],
                [[1], [1]],
                ((0,), 'CHNCXR_0001_1.png', (('MCUCXR_0002_0.png',),)),
            ),
        ],
    )
    def test_published_form(self, name, images, classes, episode, roots, tmp_path):
        # As published a row is a batch of one; a bare episode is read too.
        path = self.write(tmp_path / 'list.csv', [([images], [classes]), (images, classes)])
        dataset = build(name, roots[name], sampler=dict(type='FixedEpisodeSampler', path=path))
        assert [dataset.episode(0), dataset.episode(1)] == [episode, episode] and len(dataset) == 2
        assert dataset.metainfo['fold_class_ids'] == list(episode[0])
        assert dataset[0]['inputs']['support'].shape == (1, 1, 3, 32, 40)
        assert len(build(name, roots[name], sampler=dict(type='FixedEpisodeSampler', path=path), num_episodes=1)) == 1

    def test_tuples_and_numbers(self, tmp_path):
        lists = ClassLists.from_dict({5: ['2008_006554', '2007_000663'], 6: ['val2014/x_000000000007.jpg']})
        path = self.write(
            tmp_path / 'voc.csv',
            [("[[('2008_006554', '/M/2008_006554.png'), ('2007_000663', '/M/2007_000663.png')]]", '[[[6], [6]]]')],
        )
        assert FixedEpisodeSampler(lists, [5, 6], path=path)[0] == ((5,), '2008_006554', (('2007_000663',),))
        path = self.write(tmp_path / 'coco.csv', [('[[7, 7]]', '[[[90], [90]]]')])
        sampler = FixedEpisodeSampler(
            lists, [5, 6], path=path, name_format='val2014/x_%012d.jpg', class_numbers=[1, 2, 3, 4, 5, 6, 90]
        )
        assert sampler[0].class_ids == (6,) and sampler[0].query == 'val2014/x_000000000007.jpg'
        with pytest.raises(IndexError):
            sampler[1]

    @pytest.mark.parametrize(
        'images, classes, message',
        [
            ("['1/ISIC_0010000.jpg']", '[[1]]', r'line 2: 0 support\(s\) are listed, but num_shots=1'),
            ("['1/ISIC_0010000.jpg', '1/none.jpg']", '[[1], [1]]', "line 2: the image '1/none.jpg' is not in the list"),
            ("['1/ISIC_0010000.jpg', '1/ISIC_0010001.jpg']", '[[4], [4]]', 'unknown class number 4; known are'),
            ("['1/ISIC_0010000.jpg', '1/ISIC_0010001.jpg']", '[[1], [2]]', 'must have one class'),
            ("['1/ISIC_0010000.jpg', '1/ISIC_0010001.jpg']", '[[1]]', 'must have one class'),
            ("[['1/ISIC_0010000.jpg', '1/ISIC_0010001.jpg']]", '[]', '1 lists of images for 0'),
            ("__import__('os').getcwd()", '[[1]]', 'line 2: not lists of Python literals'),
            ('[', '[[1]]', 'not lists of Python literals'),
            ('7', '[[1]]', 'a row must hold a list of images'),
        ],
    )
    def test_malformed_rows(self, images, classes, message, roots, tmp_path):
        path = self.write(tmp_path / 'list.csv', [(images, classes)])
        with pytest.raises(ValueError, match=rf'list.csv".*{message}'):
            build('isic', roots['isic'], sampler=dict(type='FixedEpisodeSampler', path=path))

    def test_wrong_files_and_wishes(self, roots, tmp_path):
        def make(path, **kwargs):
            return build('isic', roots['isic'], sampler=dict(type='FixedEpisodeSampler', path=str(path)), **kwargs)

        with pytest.raises(FileNotFoundError, match='none.csv" does not exist'):
            make(tmp_path / 'none.csv')
        (tmp_path / 'empty.csv').write_text('image_ids,classes\n')
        with pytest.raises(ValueError, match='lists no episode'):
            make(tmp_path / 'empty.csv')
        for name, content in (('long.csv', b'image_ids,classes\n' + b'1' * 200_000), ('latin.csv', b'\xe4')):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f'{name}" is not a CSV file that can be read'):
                make(tmp_path / name)
        (tmp_path / 'other.csv').write_text('images,label\n')
        with pytest.raises(ValueError, match='must have the columns image_ids, classes; it has images, label'):
            make(tmp_path / 'other.csv')
        row = ("['1/ISIC_0010000.jpg', '1/ISIC_0010001.jpg']", '[[1], [1]]')
        path = self.write(tmp_path / 'list.csv', [row])
        with pytest.raises(ValueError, match='num_episodes=2, but .* lists 1 episodes'):
            make(path, num_episodes=2)
        with pytest.raises(ValueError, match='1-way, got num_ways=2'):
            make(path, num_ways=2)
        with pytest.raises(ValueError, match='class_numbers has 2 entries'):
            build('isic', roots['isic'], sampler=dict(type='FixedEpisodeSampler', path=path, class_numbers=[1, 2]))


class TestPascalSource:
    def test_all_classes_of_all_lists(self, tmp_path):
        root, splits = str(write_voc(tmp_path / 'voc')), str(write_pascal_splits(tmp_path / 'splits'))
        args = dict(data_root=root, pipeline=PIPELINE, split_dir=splits)
        train = Pascal5iDataset(**args, split='train', fold=None)
        assert train.class_ids == tuple(range(20)) and train.metainfo['fold'] is None
        # The four lists one after the other.
        assert train.lists.class_ids.tolist() == [class_id for class_id in range(20) for _ in range(4)]
        assert Pascal5iDataset(**args, split='test', fold=None).class_ids == tuple(range(20))
        built = Pascal5iDataset(root, PIPELINE, 'train', None, split_dir=None, min_pixels=60)
        assert len(built.lists) == 40
        with pytest.raises(ValueError, match='Unknown fold 4'):
            Pascal5iDataset(**args, fold=4)


@pytest.mark.parametrize('name', [*SETS, 'cross_domain', 'fss1000'])
def test_configs_draw_episodes(name, tmp_path, roots):
    config = Config.fromfile(CONFIGS / f'{name}_400.py')
    fss = write_fss(tmp_path / 'fss', [f'c{number}' for number in range(12)])
    sources = dict(
        Pascal5iDataset=lambda: dict(data_root=str(write_voc(tmp_path / 'voc')), split_dir=None, min_pixels=50),
        FSS1000Dataset=lambda: dict(data_root=str(fss), split_dir=None),
    )
    for split in ('train', 'val', 'test'):
        options = dict(config[f'{split}_dataloader'].dataset)
        options.update(sources[options['type']]() if options['type'] in sources else dict(data_root=str(roots[name])))
        dataset = DATASETS.build(options)
        assert dataset.split == split and dataset[0]['inputs']['support'].shape == (1, 1, 3, 400, 400)
        if split == 'train' and name != 'fss1000':
            assert dataset.class_ids == tuple(range(20))
        if split == 'test' and name in SETS:
            assert len(dataset) == 1200 and isinstance(dataset, SETS[name][0])


def test_images_of_any_mode_are_read(tmp_path):
    root = write_lung(tmp_path)
    for path in (root / 'CXR_png').iterdir():
        Image.fromarray(np.full((*SIZE, 3), 7, np.uint8)).convert('P').save(path)
    for path in (root / 'masks').iterdir():
        Image.open(path).convert('RGBA').save(path)
    assert build('lung', root)[0]['data_samples'].gt_sem_seg.data.any()
