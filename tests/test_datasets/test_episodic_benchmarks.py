"""The episodic datasets of the benchmarks and of own folders."""
import pytest

from mmfss.datasets import ImageFolderDataset
from mmfss.registry import DATASETS
from tests.test_datasets.layouts import PIPELINE, write_fss, write_voc


class TestPascal5i:
    def build(self, root, splits, **kwargs):
        return DATASETS.build(
            dict(dict(type='Pascal5iDataset', data_root=root, split_dir=splits, pipeline=PIPELINE), **kwargs)
        )

    def test_lists(self, voc_root, voc_splits):
        test = self.build(voc_root, voc_splits, fold=2)
        assert test.class_ids == tuple(range(10, 15)) and len(test.lists) == 20
        train = self.build(voc_root, voc_splits, fold=2, split='train')
        assert train.lists.class_ids.tolist() == [
            class_id for class_id in range(20) if class_id // 5 != 2 for _ in range(4)
        ]
        assert not train.lists.official and train.metainfo['lists'].startswith('unrecognized lists ')
        assert test.metainfo['dataset_name'] == 'PASCAL-5i'

    def test_other_classes_are_background_and_255_is_ignored(self, voc_root, voc_splits):
        item = self.build(
            voc_root, voc_splits, fold=0, sampler=dict(type='PublishedProtocolSampler', benchmark='pascal')
        )[0]
        sample = item['data_samples']
        assert sample.query_name == '2007_000000' and sample.class_names == ['aeroplane']
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 1, 255}

    def test_label_map_of_two_ways(self, voc_root, voc_splits):
        dataset = self.build(voc_root, voc_splits, fold=0, num_ways=5)
        sample = dataset[0]['data_samples']
        main = int(sample.query_name[5:8])
        labels = {sample.class_ids.index(class_id) + 1 for class_id in (main, main + 1) if class_id in sample.class_ids}
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 255} | labels

    def test_official_lists_are_recognised_by_checksum(self, voc_root, voc_splits, monkeypatch):
        from mmfss.datasets import split_lists

        for fold in (0, 1, 3):
            digest = split_lists.text_digest(f'{voc_splits}/trn/fold{fold}.txt')
            monkeypatch.setitem(split_lists.OFFICIAL_LISTS, ('pascal', f'trn/fold{fold}'), digest)
        train = self.build(voc_root, voc_splits, fold=2, split='train').metainfo
        assert train['lists'] == 'official PASCAL-5i (DCAMA/HSNet)' and train['lists_official'] is True
        assert self.build(voc_root, voc_splits, fold=1, split='train').metainfo['lists_official'] is False
        fewer = self.build(voc_root, voc_splits, fold=2, split='train', class_ids=range(9)).metainfo
        assert fewer['lists'].startswith('unrecognized lists') and fewer['lists_official'] is False

    def test_built_lists(self, voc_root, tmp_path, caplog):
        train = self.build(voc_root, str(tmp_path / 'none'), fold=1, split='train', min_pixels=60)
        assert train.lists.class_ids.tolist() == [
            class_id for class_id in range(20) if class_id // 5 != 1 for _ in range(2)
        ]
        assert train.metainfo['lists'].startswith('built from annotations') and not train.metainfo['lists_official']
        assert self.build(voc_root, None, fold=1, min_pixels=60).lists.names.tolist()[0] == '2007_005001'

    def test_list_naming_a_missing_image(self, voc_root, voc_splits, tmp_path):
        (tmp_path / 'val').mkdir()
        (tmp_path / 'val' / 'fold0.txt').write_text('2007_000000__01\n1999_000000__01\n')
        with pytest.raises(FileNotFoundError, match=r'val/fold0.txt" names 1 image\(s\) .* first ".*1999_000000.jpg"'):
            self.build(voc_root, str(tmp_path))

    def test_missing_list_in_a_list_folder(self, voc_root, tmp_path):
        with pytest.raises(FileNotFoundError, match='val/fold0.txt" does not exist'):
            self.build(voc_root, str(tmp_path))

    def test_image_without_mask(self, tmp_path, voc_splits):
        root = write_voc(tmp_path)
        (root / 'SegmentationClassAug' / '2007_001002.png').unlink()
        with pytest.raises(
            FileNotFoundError, match=r'names 1 mask\(s\) .* first ".*SegmentationClassAug/2007_001002.png"'
        ):
            self.build(str(root), voc_splits)

    def test_missing_root(self, voc_splits, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere" does not exist.*data_root'):
            self.build(str(tmp_path / 'nowhere'), voc_splits)
        with pytest.raises(FileNotFoundError, match='JPEGImages" does not exist'):
            self.build(str(tmp_path), voc_splits)

    def test_corrupt_image(self, tmp_path, voc_splits):
        root = write_voc(tmp_path)
        for path in (root / 'JPEGImages').iterdir():
            path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(ValueError, match=r'2007_00.*\.jpg'):
            self.build(str(root), voc_splits)[0]

    def test_generic_list_files(self, voc_root, voc_splits):
        files = [f'{voc_splits}/val/fold0.txt', f'{voc_splits}/val/fold1.txt']
        dataset = self.build(voc_root, None, fold=0, list_files=files)
        assert len(dataset.lists) == 20 and dataset.metainfo['lists'] == ', '.join(files)


class TestCOCO20i:
    @pytest.mark.parametrize('masks', ['json', 'png'])
    @pytest.mark.parametrize('split, part', [('train', 'train2014'), ('test', 'val2014')])
    def test_both_mask_formats(self, coco_root, masks, split, part):
        dataset = DATASETS.build(
            dict(
                type='COCO20iDataset',
                data_root=coco_root,
                split_dir=None,
                fold=3,
                split=split,
                masks=masks,
                pipeline=PIPELINE,
                min_pixels=100,
                num_episodes=4,
            )
        )
        assert (dataset.class_ids == tuple(range(3, 80, 4))) == (split == 'test')
        assert all(name.startswith(f'{part}/COCO_{part}_') for name in dataset.lists.names)
        sample = dataset[0]['data_samples']
        assert set(sample.gt_sem_seg.data.unique().tolist()) == {0, 1}

    def test_lists_of_a_fold(self, coco_root, tmp_path):
        from mmfss.datasets.split_lists import write_coco_list

        names = {
            class_id: [f'val2014/COCO_val2014_{class_id + 80 * number:012d}.jpg' for number in (2, 0, 1)]
            for class_id in range(80)
        }
        write_coco_list(names, tmp_path / 'val.json')
        args = dict(type='COCO20iDataset', data_root=coco_root, split_dir=str(tmp_path), fold=1, pipeline=PIPELINE)
        dataset = DATASETS.build(args)
        assert dataset.lists.images_of(5) == names[5] and len(dataset.lists) == 60 and not dataset.lists.images_of(4)
        write_coco_list(
            {class_id: names[class_id] if class_id % 4 == 1 else [] for class_id in range(80)},
            tmp_path / 'val' / 'fold1.pkl',
        )
        assert list(DATASETS.build(args).sampler) == list(dataset.sampler)
        write_coco_list({1: ['val2014/none.jpg']}, tmp_path / 'val' / 'fold1.pkl')
        with pytest.raises(FileNotFoundError, match='fold1.pkl" names 1 image.* first "val2014/none.jpg"'):
            DATASETS.build(args)
        write_coco_list({80: ['a.jpg']}, tmp_path / 'val' / 'fold1.pkl')
        with pytest.raises(ValueError, match=r'fold1.pkl names class 80; known are the ids 0..79'):
            DATASETS.build(args)
        with pytest.raises(FileNotFoundError, match='none of the split lists trn/fold1.pkl'):
            DATASETS.build(dict(args, split='train'))
        with pytest.raises(ValueError, match='masks must be'):
            DATASETS.build(dict(args, masks='xml'))


class TestFSS1000:
    def test_lists_and_offsets(self, tmp_path):
        root = write_fss(tmp_path / 'data')
        splits = tmp_path / 'splits'
        splits.mkdir()
        for part, names in (('trn', 'dog\r\nant\r\n'), ('val', 'cat\n'), ('test', 'bee\nEel\n')):
            (splits / f'{part}.txt').write_bytes(names.encode())
        args = dict(
            type='FSS1000Dataset',
            data_root=str(root),
            split_dir=str(splits),
            pipeline=PIPELINE,
            sampler=dict(type='PublishedProtocolSampler', benchmark='fss'),
        )
        test = DATASETS.build(args)
        assert test.index.classes == ('ant', 'dog', 'cat', 'Eel', 'bee') and test.class_ids == (3, 4)
        assert len(test) == 20 and test.episode(1).query == 'Eel/10.jpg' and test.episode(1).class_ids == (3,)
        assert DATASETS.build(dict(args, split='val')).class_ids == (2,)
        (splits / 'test.txt').write_text('bee\ncow\n')
        with pytest.raises(FileNotFoundError, match=r'test.txt" names 1 categories .* first ".*cow"'):
            DATASETS.build(args)
        with pytest.raises(ValueError, match='Unknown fold 1'):
            DATASETS.build(dict(args, fold=1))

    def test_without_lists(self, fss_root):
        ids = [
            DATASETS.build(
                dict(type='FSS1000Dataset', data_root=fss_root, split_dir=None, split=split, pipeline=PIPELINE)
            ).class_ids
            for split in ('train', 'val', 'test')
        ]
        assert ids == [tuple(range(6)), (6, 7, 8), (9, 10, 11)]

    def test_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere" does not exist'):
            DATASETS.build(
                dict(type='FSS1000Dataset', data_root=str(tmp_path / 'nowhere'), split_dir=None, pipeline=[])
            )


class TestImageFolder:
    def write(self, root, images=4):
        from tests.tiny.data import write_class_folders

        return write_class_folders(root, num_images=images)

    def test_folds(self, tmp_path):
        dataset = ImageFolderDataset(str(self.write(tmp_path / 'mine')), PIPELINE, num_folds=2, fold=1, num_shots=3)
        assert [dataset.index.classes[class_id] for class_id in dataset.class_ids] == ['cat', 'dog']
        assert dataset.metainfo['dataset_name'] == 'mine'
        assert dataset[0]['inputs']['support'].shape == (1, 3, 3, 32, 40)

    def test_too_few_images(self, tmp_path):
        with pytest.raises(
            ValueError, match=r'Class "ant" \(id 0\) has 3 image\(s\).* 3-shot episodes need at least 4'
        ):
            ImageFolderDataset(str(self.write(tmp_path, images=3)), PIPELINE, num_folds=2, num_shots=3)

    def test_image_without_mask(self, tmp_path):
        root = self.write(tmp_path)
        (root / 'bee' / 'masks' / '2.png').unlink()
        with pytest.raises(FileNotFoundError, match=r'bee/images/2.jpg" has no mask: expected ".*bee/masks/2.png"'):
            ImageFolderDataset(str(root), PIPELINE)

    def test_missing_folder(self, tmp_path):
        (tmp_path / 'cow').mkdir()
        with pytest.raises(FileNotFoundError, match='cow/images" does not exist'):
            ImageFolderDataset(str(tmp_path), PIPELINE)
