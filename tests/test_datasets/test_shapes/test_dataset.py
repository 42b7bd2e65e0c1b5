"""The shapes dataset: exactly repeatable, valid COCO, honest folds, and not to be solved by colour or place."""
import filecmp
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from mmfss.datasets import SHAPES_CLASSES, ShapesDataset, ShapesIndex
from mmfss.datasets.shapes import files as shapes_files
from mmfss.datasets.shapes.classes import CLASSES
from mmfss.datasets.shapes.files import ShapesSpec, ensure_shapes, scenes, write_shapes
from mmfss.datasets.shapes.outlines import OUTLINES
from mmfss.datasets.shapes.patterns import Pattern
from mmfss.datasets.shapes.scene import MIN_VISIBLE, OBJECT_SIZES, render
from mmfss.registry import DATASETS
from tests.tiny.data import PIPELINE

SPEC = ShapesSpec(num_train=400, num_val=200, side=48, seed=3)
INDEX = dict(num_train=400, num_val=200, side=48, seed=3)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_shapes(tmp_path_factory.mktemp('data') / 'shapes', SPEC)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


class TestScene:

    def test_same_state_same_scene_for_any_thread_count(self) -> None:
        threads = cv2.getNumThreads()
        pictures = []
        try:
            for count in (1, 4):
                cv2.setNumThreads(count)
                pictures.append(render(np.random.RandomState(5), 128))
        finally:
            cv2.setNumThreads(threads)
        assert np.array_equal(pictures[0].image, pictures[1].image)
        assert np.array_equal(pictures[0].masks, pictures[1].masks)
        assert not np.array_equal(pictures[0].image, render(np.random.RandomState(6), 128).image)

    def test_objects_differ_in_class_do_not_overlap_and_can_be_seen(self) -> None:
        smallest = MIN_VISIBLE * (0.85 * OBJECT_SIZES[0] * 64 / 2) ** 2
        for scene in scenes('val', 30, SPEC._replace(side=64)):
            assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
            assert len({class_id // 4 for class_id in scene.class_ids}) == len(scene.class_ids) == len(scene.masks) == 3
            assert np.sum(scene.masks, axis=0).max() == 1
            assert min(mask.sum() for mask in scene.masks) > smallest

    @pytest.mark.parametrize('points', [np.concatenate(loops) for loops in OUTLINES.values()], ids=list(OUTLINES))
    def test_outlines_fill_their_square(self, points: np.ndarray) -> None:
        assert np.abs(points).max() < 1.3 and np.ptp(points, axis=0).min() > 1

    @pytest.mark.parametrize('pattern', sorted({shape.pattern for shape in CLASSES}, key=lambda own: own.__name__))
    def test_patterns_have_two_colours(self, pattern: Pattern) -> None:
        v, u = np.mgrid[:64, :64].astype(np.float32) / 9
        ink = pattern(u, v, 1 / 9, np.random.RandomState(0))
        assert ink.shape == (64, 64) and ink.min() >= 0 and ink.max() <= 1 + 1e-6
        assert ink.std() > 0.1

    def test_classes_have_surfaces_of_their_own_and_outlines_in_all_folds(self) -> None:
        names, outlines, *surfaces = zip(*CLASSES)
        assert len(set(names)) == len(set(zip(*surfaces))) == len(SHAPES_CLASSES) == 64
        for outline in OUTLINES:
            folds = {class_id % 4 for class_id, own in enumerate(outlines) if own == outline}
            assert len(folds) == outlines.count(outline) == 4
        for family in range(16):
            assert len(set(outlines[4 * family:4 * family + 4])) == 4


class TestFiles:

    def test_two_runs_write_the_same_bytes(self, tmp_path: Path) -> None:
        spec = ShapesSpec(num_train=6, num_val=4, side=64)
        digests = [write_shapes(tmp_path / name, spec) for name in ('a', 'b')]
        assert digests[0] == digests[1]
        files = _files(tmp_path / 'a')
        assert files == _files(tmp_path / 'b') and len(files) == 6 + 4 + 3
        assert filecmp.cmpfiles(tmp_path / 'a', tmp_path / 'b', files, shallow=False)[0] == files
        assert write_shapes(tmp_path / 'c', spec._replace(seed=1)) != digests[0]

    @pytest.mark.parametrize('threads', [2, 3])
    def test_any_number_of_processes_writes_the_same_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           threads: int) -> None:
        # More than one chunk for each process, and a rest.
        spec = ShapesSpec(num_train=4 * shapes_files.CHUNK + 3, num_val=7, side=32)
        digests = []
        for count in (1, threads):
            monkeypatch.setattr(torch, 'get_num_threads', lambda count=count: count)
            digests.append(write_shapes(tmp_path / str(count), spec))
        assert digests[0] == digests[1]
        files = _files(tmp_path / '1')
        assert files == _files(tmp_path / str(threads)) and len(files) == 4 * shapes_files.CHUNK + 3 + 7 + 3
        assert filecmp.cmpfiles(tmp_path / '1', tmp_path / str(threads), files, shallow=False)[0] == files

    def test_a_failure_while_drawing_ends_all_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

        def fail(*args) -> None:
            raise ArithmeticError('no such colour')

        monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
        monkeypatch.setattr(shapes_files, 'render', fail)
        with pytest.raises(ArithmeticError, match='colour'):
            ensure_shapes(tmp_path / 'shapes', ShapesSpec(num_train=2 * shapes_files.CHUNK, num_val=2, side=32))
        assert not (tmp_path / 'shapes').exists() and not multiprocessing.active_children()

    def test_progress_is_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        write_shapes(tmp_path / 'shapes', ShapesSpec(num_train=4, num_val=2, side=32))
        assert 'drawing: 6 of 6 images' in capsys.readouterr().err

    @pytest.mark.parametrize('part, count', [('train', 400), ('val', 200)])
    def test_is_valid_coco(self, root: Path, part: str, count: int) -> None:
        coco = COCO(str(root / f'annotations/instances_{part}.json'))
        assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(SHAPES_CLASSES)
        assert len(coco.getImgIds()) == count
        for scene, image in zip(scenes(part, 10, SPEC), coco.loadImgs(coco.getImgIds())):
            picture = Image.open(root / 'images' / part / image['file_name'])
            assert picture.size == (image['width'], image['height']) == (48, 48)
            assert np.abs(np.asarray(picture, float) - scene.image).mean() < 8  # JPEG
            annotations = coco.loadAnns(coco.getAnnIds(image['id']))
            for annotation, class_id, mask in zip(annotations, scene.class_ids, scene.masks, strict=True):
                assert annotation['category_id'] == class_id + 1 and annotation['iscrowd'] == 0
                assert np.array_equal(coco.annToMask(annotation), mask)
                rows, columns = np.nonzero(mask)
                assert annotation['area'] == mask.sum()
                assert annotation['bbox'] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]

    def test_train_and_val_share_no_picture(self, root: Path) -> None:
        pictures = [path.read_bytes() for path in root.glob('images/*/*.jpg')]
        assert len(set(pictures)) == len(pictures) == 600

    def test_is_made_once_by_several_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        written = []
        monkeypatch.setattr(shapes_files, 'write_shapes', lambda *args: written.append(1) or write_shapes(*args))
        spec = ShapesSpec(num_train=4, num_val=4, side=32)
        with ThreadPoolExecutor(3) as pool:
            roots = list(pool.map(lambda _: ensure_shapes(tmp_path / 'shapes', spec), range(3)))
        assert roots == [tmp_path / 'shapes'] * 3
        assert len(written) == 1

    def test_remains_of_a_killed_run_do_no_harm(self, tmp_path: Path) -> None:
        (tmp_path / '.shapes.partial' / 'images').mkdir(parents=True)
        (tmp_path / '.shapes.partial' / 'shapes.json').write_text('{"version": ')
        (tmp_path / 'shapes').mkdir()
        ensure_shapes(tmp_path / 'shapes', ShapesSpec(num_train=2, num_val=2, side=32))
        assert json.loads((tmp_path / 'shapes' / 'shapes.json').read_text())['num_val'] == 2
        assert not (tmp_path / '.shapes.partial').exists()

    def test_a_failed_run_leaves_no_data_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

        def fail(*args) -> None:
            raise OSError('No space left on device')

        monkeypatch.setattr(shapes_files, '_dump', fail)
        with pytest.raises(OSError, match='No space'):
            ensure_shapes(tmp_path / 'shapes', ShapesSpec(num_train=2, num_val=2, side=32))
        assert not (tmp_path / 'shapes').exists()

    def test_refuses_other_content(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(FileExistsError, match='seed 3, wanted 0.*Delete the folder'):
            ShapesIndex(str(root), num_train=400, num_val=200, side=48)
        (tmp_path / 'thesis.tex').write_text('precious')
        with pytest.raises(FileExistsError, match='not a shapes dataset'):
            ShapesIndex(str(tmp_path))
        (tmp_path / 'shapes.json').write_text('{"version": ')
        with pytest.raises(FileExistsError, match='not a shapes dataset'):
            ShapesIndex(str(tmp_path))
        assert (tmp_path / 'thesis.tex').read_text() == 'precious'

    @pytest.mark.parametrize('arguments, message', [
        (dict(side=16), 'side must be an integer of 32 or more, got 16'),
        (dict(num_val=0), 'num_val must be an integer of 1 or more, got 0'),
        (dict(seed=-1), 'seed must be'),
        (dict(part='test'), "part must be one of .*got 'test'"),
    ])
    def test_bad_arguments(self, tmp_path: Path, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ShapesIndex(str(tmp_path / 'shapes'), **arguments)


class TestDataset:

    @pytest.mark.parametrize('fold', range(4))
    def test_training_never_shows_a_tested_class(self, root: Path, fold: int) -> None:
        train = ShapesDataset(str(root), PIPELINE, 'train', fold, index=INDEX)
        test = ShapesDataset(str(root), PIPELINE, 'test', fold, index=INDEX)
        tested = set(range(fold, 64, 4))
        assert set(test.class_ids) == tested
        assert set(train.class_ids) == set(range(64)) - tested
        kept = set(train.lists.names.tolist())
        for name in train.index.image_names():
            assert (name in kept) == tested.isdisjoint(train.index.class_pixels(name))
        assert all(len(train.lists.pool(class_id)) > 2 for class_id in train.class_ids)
        assert kept.isdisjoint(test.lists.names.tolist())

    @pytest.mark.parametrize('hide_tested', [True, False])
    def test_validation_of_training_classes_never_shows_a_tested_class(self, root: Path, hide_tested: bool) -> None:
        """In images of the val part, whatever training does."""
        val = ShapesDataset(str(root), PIPELINE, 'val', 1, classes_of='train', hide_tested=hide_tested, index=INDEX,
                            sampler=dict(type='UniformEpisodeSampler', small_classes='skip'))
        tested = set(range(1, 64, 4))
        assert set(val.class_ids) == set(range(64)) - tested
        assert val.lists.num_images > 20
        for name in val.index.image_names():
            assert (name in val.lists.names) == tested.isdisjoint(val.index.class_pixels(name))

    def test_custom_of_the_benchmarks_as_an_option(self, root: Path) -> None:
        dataset = ShapesDataset(str(root), PIPELINE, 'train', 0, hide_tested=False, index=INDEX)
        shown = [dataset.index.class_pixels(name) for name in dataset.lists.names.tolist()]
        assert any(0 in classes for classes in shown)
        assert 0 not in dataset.class_ids

    def test_all_classes_without_a_fold(self, root: Path) -> None:
        dataset = ShapesDataset(str(root), PIPELINE, 'train', None, index=INDEX)
        assert dataset.lists.num_images == 400 and len(dataset.class_ids) == 64

    def test_query_holds_distractors(self, root: Path) -> None:
        dataset = ShapesDataset(str(root), PIPELINE, 'test', 1, index=INDEX)
        for number in range(50):
            assert len(dataset.index.class_pixels(dataset.episode(number).query)) == 3

    def test_built_from_a_config(self, root: Path) -> None:
        config = dict(type='ShapesDataset', data_root=str(root), pipeline=PIPELINE, fold=2, index=INDEX)
        dataset = DATASETS.build(dict(config, num_ways=2, num_shots=3))
        item = dataset[0]
        assert item['inputs']['query'].shape == (3, 64, 64)
        assert item['inputs']['support'].shape == (2, 3, 3, 64, 64)
        assert item['data_samples'].support_sem_seg.shape == (2, 3, 64, 64)
        assert dataset.metainfo['dataset_name'] == 'shapes'
        assert dataset.metainfo['classes'] == SHAPES_CLASSES


@pytest.fixture(scope='module')
def figures() -> dict[str, float]:
    """mIoU in percent of guesses on 320 1-shot episodes."""
    drawn = list(scenes('val', 240, ShapesSpec(side=64)))
    shows = [[i for i, scene in enumerate(drawn) if class_id in scene.class_ids] for class_id in range(64)]
    rng = np.random.RandomState(0)
    counts = {name: np.zeros((64, 2)) for name in ('copied mask', 'mean colour', 'colour histogram', 'every object')}
    for episode in range(320):
        class_id = episode % 64
        query, support = (drawn[i] for i in rng.choice(shows[class_id], 2, replace=False))
        target, mask = (scene.masks[scene.class_ids.index(class_id)] for scene in (query, support))
        guesses = {
            'copied mask': mask,
            'mean colour': _by_mean_colour(query.image, support.image, mask),
            'colour histogram': _by_histogram(query.image, support.image, mask),
            'every object': np.any(query.masks, axis=0)
        }
        for name, guess in guesses.items():
            counts[name][class_id] += (guess & target).sum(), (guess | target).sum()
    return {name: 100 * float(np.mean(count[:, 0] / count[:, 1])) for name, count in counts.items()}


class TestDifficulty:
    """What does not look at outline and pattern must fail."""

    @pytest.mark.parametrize('name, bound', [('copied mask', 20), ('mean colour', 25), ('colour histogram', 25),
                                             ('every object', 45)])
    def test_guess_is_poor(self, figures: dict[str, float], name: str, bound: float) -> None:
        assert 0 < figures[name] < bound


def _by_mean_colour(query: np.ndarray, support: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels whose colour is nearer to the mean of the support's object than to that of its background."""
    distances = [((query - support[part].mean(0)) ** 2).sum(-1) for part in (mask, ~mask)]
    return distances[0] < distances[1]


def _by_histogram(query: np.ndarray, support: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels whose colour is more frequent in the support's object than in its background (8 x 8 x 8 bins)."""
    query_bins, support_bins = ((image // 32).astype(int) @ (64, 8, 1) for image in (query, support))
    shares = [(np.bincount(support_bins[part], minlength=512) + 0.5) / (part.sum() + 256) for part in (mask, ~mask)]
    return (shares[0] > shares[1])[query_bins]
