"""Cross-domain datasets: faulty files and lists."""

import numpy as np
import pytest

from mmfss.datasets import FSS1000Dataset, split_lists
from mmfss.datasets.split_lists import write_coco_list
from tests.test_datasets.cross_domain_sets import IMAGES, MASKS, SETS, build
from tests.test_datasets.layouts import PIPELINE, SIZE, save_mask, write_deepglobe, write_fss, write_isic, write_lung


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
