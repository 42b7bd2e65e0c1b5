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
    DeepGlobeDataset,
    FixedEpisodeSampler,
    FSS1000Dataset,
    ISICDataset,
    LungDataset,
    Pascal5iDataset,
    PublishedProtocolSampler,
    split_lists,
)
from mmfss.datasets.split_lists import write_coco_list
from mmfss.registry import DATASETS
from tests.test_datasets.layouts import (
    PIPELINE,
    SIZE,
    boxes_mask,
    save_mask,
    write_deepglobe,
    write_fss,
    write_isic,
    write_lung,
    write_pascal_splits,
    write_voc,
)

DATA = Path(__file__).parents[1] / 'data' / 'datasets'
CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
GOLDEN = json.loads((DATA / 'cross_domain_episodes.json').read_text())
SETS = dict(
    deepglobe=(DeepGlobeDataset, write_deepglobe), isic=(ISICDataset, write_isic), lung=(LungDataset, write_lung)
)
IMAGES = 'ISIC2018_Task1-2_Training_Input'
MASKS = 'ISIC2018_Task1_Training_GroundTruth'


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, (_, write) in SETS.items()}


def build(name, root, **kwargs):
    return SETS[name][0](**dict(dict(data_root=str(root), pipeline=PIPELINE), **kwargs))


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


class TestBadData:
    @pytest.mark.parametrize(
        'name, folder',
        [
            ('deepglobe', 'filter_mask/5'),
            ('isic', f'{IMAGES}/3'),
            ('isic', MASKS),
            ('lung', 'masks'),
            ('lung', 'CXR_png'),
        ],
    )
    def test_missing_folder(self, name, folder, tmp_path):
        root = SETS[name][1](tmp_path)
        (root / folder).rename(root / 'elsewhere')
        with pytest.raises(FileNotFoundError, match=f'Index: the data folder ".*{folder}" does not exist'):
            build(name, root)

    @pytest.mark.parametrize('name', SETS)
    def test_missing_root(self, name, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere" does not exist.*data_root'):
            build(name, tmp_path / 'nowhere')

    @pytest.mark.parametrize(
        'name, file, kind',
        [
            ('deepglobe', 'image/1000_sat_00.jpg', 'image'),
            ('isic', f'{MASKS}/ISIC_0020003_segmentation.png', 'mask'),
            ('lung', 'CXR_png/MCUCXR_0000_0.png', 'image'),
            ('lung', 'CXR_png/CHNCXR_0001_1.png', 'image'),
        ],
    )
    def test_half_a_pair(self, name, file, kind, tmp_path):
        root = SETS[name][1](tmp_path)
        (root / file).unlink()
        with pytest.raises(FileNotFoundError, match=rf'names 1 {kind}\(s\) that do not exist, first ".*{file}"'):
            build(name, root)

    def test_folder_of_all_images_missing(self, tmp_path):
        root = write_deepglobe(tmp_path)
        (root / 'image').rename(root / 'images')
        with pytest.raises(FileNotFoundError, match=r'names 69 image\(s\) that do not exist, first ".*/image/1000_sat'):
            build('deepglobe', root)

    @pytest.mark.parametrize('name, folder', [('deepglobe', 'filter_mask/1'), ('isic', MASKS), ('lung', 'masks')])
    @pytest.mark.parametrize('content', [b'', b'not a picture', None])
    def test_unreadable_mask(self, name, folder, content, tmp_path):
        root = SETS[name][1](tmp_path)
        for path in (root / folder).iterdir():
            path.write_bytes(path.read_bytes()[:60] if content is None else content)
        with pytest.raises(ValueError, match=rf'{folder}/\w+\.png'):
            build(name, root)[0]

    def test_mask_of_another_size(self, tmp_path):
        root = write_lung(tmp_path)
        for path in (root / 'masks').iterdir():
            save_mask(path, np.full((5, 7), 255))
        with pytest.raises(ValueError, match=r'has size \(5, 7\) \(H, W\), its image .*CXR_png'):
            build('lung', root)[0]

    def test_empty_support_mask(self, tmp_path):
        root = write_lung(tmp_path)
        for path in (root / 'masks').iterdir():
            save_mask(path, np.full(SIZE, 127))
        with pytest.raises(ValueError, match='support mask of class "lung" in image .* is empty'):
            build('lung', root)[0]

    def test_class_of_one_image(self, tmp_path):
        root = write_isic(tmp_path)
        for path in sorted((root / IMAGES / '2').iterdir())[1:]:
            path.unlink()
        with pytest.raises(ValueError, match=r'Class "melanoma" \(id 1\) has 1 image\(s\) .* need at least 2'):
            build('isic', root)
        sampler = dict(type='PublishedProtocolSampler', benchmark='cross_domain', small_classes='skip')
        assert build('isic', root, sampler=sampler).metainfo['fold_class_ids'] == [0, 2]

    def test_class_without_mask(self, tmp_path):
        """What the released preprocessing of DeepGlobe leaves of water."""
        root = write_deepglobe(tmp_path)
        for path in (root / 'filter_mask' / '5').iterdir():
            path.unlink()
        with pytest.raises(ValueError, match=r'Class "water" \(id 4\) has 0 image\(s\)'):
            build('deepglobe', root)
        sampler = dict(type='PublishedProtocolSampler', benchmark='cross_domain', small_classes='skip')
        assert build('deepglobe', root, sampler=sampler).metainfo['fold_class_ids'] == [0, 1, 2, 3, 5]

    def test_other_files_are_left_out(self, tmp_path):
        root = write_deepglobe(tmp_path)
        (root / 'filter_mask' / '1' / 'Thumbs.db').touch()
        (root / 'filter_mask' / '1' / '._1000_mask_00.png').touch()
        (root / 'filter_mask' / '1' / 'overview.png').touch()
        assert len(build('deepglobe', root).index.images_of(0)) == 9

    def fss(self, root, **kwargs):
        return FSS1000Dataset(str(root), PIPELINE, **dict(dict(split_dir=None, num_episodes=4), **kwargs))

    def test_fss(self, tmp_path):
        root = write_fss(tmp_path, [f'c{number:02d}' for number in range(12)])
        for path in (root / 'c10').glob('*.png'):
            path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(ValueError, match=r'c10/\d+\.png is corrupt'):
            list(self.fss(root, sampler=dict(type='PublishedProtocolSampler', benchmark='fss'), num_episodes=20))
        (root / 'c11' / '3.png').unlink()
        with pytest.raises(FileNotFoundError, match=r'names 1 mask\(s\) that do not exist, first ".*c11/3.png"'):
            self.fss(root)
        for number in range(2, 11):
            (root / 'c11' / f'{number}.jpg').unlink()
        with pytest.raises(ValueError, match=r'Class "c11" \(id 11\) has 1 image\(s\)'):
            self.fss(root, sampler=dict(type='PublishedProtocolSampler', benchmark='fss'))

    @pytest.mark.parametrize('missing', [[], ['c11/3.jpg']])
    def test_fss_mask_without_image(self, missing, tmp_path, monkeypatch):
        root = write_fss(tmp_path / 'fss', [f'c{number:02d}' for number in range(12)])
        for part, numbers in (('trn', range(6)), ('val', range(6, 9)), ('test', range(9, 12))):
            path = tmp_path / f'{part}.txt'
            path.write_text(''.join(f'c{number:02d}\n' for number in numbers))
            monkeypatch.setitem(split_lists.OFFICIAL_LISTS, ('fss', part), split_lists.text_digest(str(path)))
        for file in missing:
            (root / file).unlink()
        dataset = self.fss(root, split_dir=str(tmp_path))
        meta = dataset.metainfo
        assert meta['lists_official'] is not bool(missing)
        write_coco_list({c: dataset.lists.images_of(c)[:9] for c in range(9, 12)}, tmp_path / 'own.json')
        own = self.fss(root, split_dir=str(tmp_path), list_files=str(tmp_path / 'own.json')).metainfo
        assert own['lists'] == str(tmp_path / 'own.json') and own['lists_official'] is False
        assert ('but 1 of its categories do not have 10 images, first "c11"' in meta['lists']) == bool(missing)

    def test_unknown_image(self, roots):
        index = build('isic', roots['isic']).index
        with pytest.raises(FileNotFoundError, match='ISICIndex: there is no image "1/none.jpg" below'):
            index.load_class_mask('1/none.jpg', 0)

    def test_fold_and_split(self, roots):
        with pytest.raises(ValueError, match=r'Unknown fold 1; known: \[0\] \(ISIC is not divided\)'):
            build('isic', roots['isic'], fold=1)
        with pytest.raises(ValueError, match="Unknown split 'dev'"):
            build('isic', roots['isic'], split='dev')


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
