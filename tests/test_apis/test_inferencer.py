import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image

from mmfss.apis import FewShotInferencer, init_model
from mmfss.apis.image_transform import read_mask
from mmfss.registry import DATASETS
from mmfss.utils.checkpoint import CheckpointError
from mmfss.utils.config_options import ConfigError
from tests.tiny.data import PIPELINE, draw_picture, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def dataset_cfg(root: Path) -> dict:
    return dict(
        type='EpisodicDataset', index=dict(type='ImageFolderIndex', data_root=str(root)), pipeline=PIPELINE, fold=None,
        sampler=dict(type='UniformEpisodeSampler', num_episodes=3))


@pytest.fixture(scope='module')
def cfg(dataset_cfg: dict) -> Config:
    return Config(dict(model=TINY_MODEL, test_dataloader=dict(dataset=dataset_cfg)))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    torch.save(dict(state_dict=build_tiny_model(seed=1).state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='module')
def inferencer(cfg: Config, checkpoint: Path) -> FewShotInferencer:
    return FewShotInferencer(cfg, checkpoint, device='cpu', batch_size=2)


def pair(root: Path, name: str, number: int) -> tuple[str, str]:
    return str(root / name / 'images' / f'{number}.jpg'), str(root / name / 'masks' / f'{number}.png')


class TestInitModel:

    def test_loads_the_checkpoint(self, cfg: Config, checkpoint: Path) -> None:
        model = init_model(cfg, checkpoint, device='cpu')
        assert not model.training and model.cfg.model.type == 'FewShotSegmentor'
        reference = build_tiny_model(seed=1).state_dict()
        assert all(torch.equal(value, reference[name]) for name, value in model.state_dict().items())

    def test_config_file_and_options(self, cfg: Config, tmp_path: Path) -> None:
        path = tmp_path / 'config.py'
        cfg.dump(path)
        with pytest.warns(UserWarning, match='untrained'):
            model = init_model(path, device='cpu', cfg_options={'model.head.dropout': 0.25})
        assert model.cfg.model.head.dropout == 0.25 and 'dropout' not in cfg.model.head

    def test_checkpoint_of_another_model(self, cfg: Config, checkpoint: Path) -> None:
        with pytest.raises(CheckpointError, match='tiny.pth'):
            init_model(cfg, checkpoint, device='cpu', cfg_options={'model.backbone.depth': 34})


class TestPredictions:

    @pytest.mark.parametrize('shots, ways', [(1, 1), (2, 1), (1, 2)])
    def test_equal_the_test_loop(self, inferencer: FewShotInferencer, dataset_cfg: dict, shots: int, ways: int) -> None:
        dataset = DATASETS.build(dict(dataset_cfg, num_shots=shots, num_ways=ways))
        for i in range(len(dataset)):
            sample, = inferencer.model.test_step(pseudo_collate([dataset[i]]))
            support = {
                name: [(path, path.replace('images', 'masks').replace('.jpg', '.png')) for path in paths]
                for name, paths in zip(sample.class_names, sample.support_paths)
            }
            result = inferencer(sample.img_path, support, return_logits=True)
            expected = F.interpolate(
                sample.seg_logits.data[None], (60, 80), mode='bilinear', align_corners=True)[0].numpy()
            np.testing.assert_allclose(result['logits'], expected, atol=1e-5)
            assert np.array_equal(result['mask'], result['logits'].argmax(0)) and result['mask'].dtype == np.uint8
            assert result['foreground_fraction'] == pytest.approx((result['mask'] > 0).mean())
            assert result['class_names'] == sample.class_names and result['query'] == sample.img_path

    def test_arrays_equal_files(self, inferencer: FewShotInferencer, root: Path) -> None:
        files = [pair(root, 'ant', 0), pair(root, 'ant', 1)]
        rgb = [np.asarray(Image.open(image)) for image, _ in files]
        masks = [np.asarray(Image.open(mask)) for _, mask in files]
        expected = inferencer(files[1][0], [files[0]], return_logits=True)['logits']
        bgr = inferencer(rgb[1][..., ::-1], [(rgb[0][..., ::-1], masks[0] > 0)], return_logits=True)
        assert bgr['query'] == 0
        np.testing.assert_array_equal(bgr['logits'], expected)
        as_rgb = FewShotInferencer(inferencer.model, bgr=False)(rgb[1], [(rgb[0], masks[0])], return_logits=True)
        np.testing.assert_array_equal(as_rgb['logits'], expected)

    def test_ignored_pixels_are_no_object(self, inferencer: FewShotInferencer) -> None:
        image, mask = draw_picture('a', 0)
        with_border = mask.astype(np.uint8)
        with_border[:9] = 7
        plain = np.where(with_border == 7, 0, with_border)
        expected = inferencer(image, [(image, plain)], return_logits=True)['logits']
        ignoring = FewShotInferencer(inferencer.model, ignore_value=7)
        ignoring = ignoring(image, [(image, with_border)], return_logits=True)
        np.testing.assert_array_equal(ignoring['logits'], expected)

    def test_classes_of_different_shots(self, inferencer: FewShotInferencer, root: Path) -> None:
        support = dict(ant=[pair(root, 'ant', 0)], bee=[pair(root, 'bee', 0), pair(root, 'bee', 1)])
        result = inferencer(pair(root, 'bee', 2)[0], support, return_logits=True)
        assert result['logits'].shape == (3, 60, 80)
        single = inferencer(pair(root, 'bee', 2)[0], support['bee'], return_logits=True)
        np.testing.assert_allclose(result['logits'][2], single['logits'][1], atol=1e-5)


class TestQueries:

    def test_support_is_encoded_once(self, inferencer: FewShotInferencer, root: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        encode = inferencer.model.encode_features
        monkeypatch.setattr(inferencer.model, 'encode_features', lambda *args: calls.append(1) or encode(*args))
        folder = root / 'ant' / 'images'
        inferencer.set_support([pair(root, 'bee', 0)])
        results = inferencer(folder, return_logits=True) + [inferencer(folder / '0.jpg', return_logits=True)]
        assert len(calls) == 1 and [Path(result['query']).name for result in results] == [
            '0.jpg', '1.jpg', '2.jpg', '3.jpg', '0.jpg']
        # The batch of a query does not matter.
        np.testing.assert_allclose(results[0]['logits'], results[-1]['logits'], atol=1e-5)

    def test_list_of_sizes(self, inferencer: FewShotInferencer, root: Path) -> None:
        arrays = [draw_picture(str(size), 1, size)[0] for size in ((40, 90), (33, 31), (64, 64))]
        results = inferencer(arrays, [pair(root, 'bee', 0)])
        assert [result['mask'].shape for result in results] == [(40, 90), (33, 31), (64, 64)]
        assert [result['query'] for result in results] == [0, 1, 2]

    def test_lazy(self, inferencer: FewShotInferencer, root: Path) -> None:
        inferencer.set_support([pair(root, 'bee', 0)])
        image = pair(root, 'ant', 0)[0]
        results = inferencer.iterate([image, image, 'does/not/exist.jpg'])
        assert next(results)['query'] == next(results)['query'] == image
        with pytest.raises(FileNotFoundError, match='exist.jpg'):
            next(results)

    def test_files(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        queries = [pair(root, 'ant', 0)[0], pair(root, 'bee', 0)[0], draw_picture('a', 0)[0]]
        support = dict(ant=[pair(root, 'ant', 1)], bee=[pair(root, 'bee', 1)])
        results = inferencer(queries, support, out_dir=tmp_path / 'out')
        for folder in ('masks', 'overlays'):
            names = sorted(path.name for path in (tmp_path / 'out' / folder).iterdir())
            assert names == ['0.png', '0_2.png', 'query_00002.png']
        for result in results:
            stored = Image.open(result['mask_path'])
            assert stored.mode == 'P' and np.array_equal(np.asarray(stored), result['mask'])
            assert np.asarray(Image.open(result['overlay_path'])).shape == (60, 80, 3)
        untouched = results[0]['mask'] == 0
        picture, overlay = (np.asarray(Image.open(path)) for path in (queries[0], results[0]['overlay_path']))
        assert np.array_equal(picture[untouched], overlay[untouched])


class TestFiles:
    """Pictures and masks as users have them."""

    @pytest.fixture
    def mask(self) -> np.ndarray:
        mask = np.zeros((60, 80), np.uint8)
        mask[10:30, 20:50] = 1
        return mask

    @pytest.mark.parametrize('kind', ['16 bits', '32 bits', 'boolean', 'JPEG', 'red', 'transparent'])
    def test_masks(self, tmp_path: Path, mask: np.ndarray, kind: str) -> None:
        stored = {
            '16 bits': mask.astype(np.uint16) * 65535, '32 bits': mask.astype(np.int32) * 70000,
            'boolean': mask.astype(bool), 'JPEG': mask * 255, 'red': mask[..., None] * np.uint8([200, 0, 0]),
            'transparent': mask[..., None] * np.uint8([0, 90, 0, 255])}[kind]
        path = tmp_path / ('mask.jpg' if kind == 'JPEG' else 'mask.tif' if kind == '32 bits' else 'mask.png')
        Image.fromarray(stored).save(path)
        found = read_mask(path)
        # The edge of a JPEG is soft.
        assert (found != mask).sum() <= (10 if kind == 'JPEG' else 0) and found.dtype == np.uint8

    def test_photographs_are_turned_upright(self, cfg: Config, checkpoint: Path, tmp_path: Path,
                                            mask: np.ndarray) -> None:
        picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
        Image.fromarray(np.rot90(picture)).save(tmp_path / 'turned.png', exif=exif)
        Image.fromarray(picture).save(tmp_path / 'upright.png')
        Image.fromarray(mask * 255).save(tmp_path / 'mask.png')
        support = [(tmp_path / 'turned.png', tmp_path / 'mask.png')]
        inferencer = FewShotInferencer(cfg, checkpoint, device='cpu')
        result = inferencer(tmp_path / 'turned.png', support, return_logits=True)
        expected = inferencer(tmp_path / 'upright.png', [(tmp_path / 'upright.png', mask)], return_logits=True)
        assert result['mask'].shape == mask.shape and np.array_equal(result['logits'], expected['logits'])
        with pytest.raises(ValueError, match='Was the mask drawn on the picture as it is stored.*upright=False'):
            inferencer(tmp_path / 'turned.png', [(tmp_path / 'turned.png', np.rot90(mask))])
        as_stored = FewShotInferencer(cfg, checkpoint, device='cpu', upright=False)
        result = as_stored(tmp_path / 'turned.png', [(tmp_path / 'turned.png', np.rot90(mask))])
        assert result['mask'].shape == mask.shape[::-1]

    @pytest.mark.parametrize('tag, size', [(3, (60, 80)), (2, (60, 80)), (6, (64, 64))])
    def test_only_the_tags_tell(self, inferencer: FewShotInferencer, tmp_path: Path, tag: int,
                                size: tuple[int, int]) -> None:
        picture, mask = draw_picture('a', 0, size)
        exif = Image.Exif()
        exif[0x0112] = tag
        turned = {2: picture[:, ::-1], 3: picture[::-1, ::-1], 6: np.rot90(picture)}[tag]
        Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / 'turned.png', exif=exif)
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / 'mask.png')
        pairs = [(tmp_path / 'turned.png', tmp_path / 'mask.png')]
        with pytest.raises(ValueError, match=f'turned.png has the EXIF orientation {tag} .*--upright.*--no-upright'):
            inferencer.set_support(pairs)
        shot, = FewShotInferencer(inferencer.model, upright=True).set_support(pairs).shots[0]
        assert np.array_equal(shot.image[..., ::-1], picture) and np.array_equal(shot.mask, mask)
        shot, = FewShotInferencer(inferencer.model, upright=False).set_support(pairs).shots[0]
        assert np.array_equal(shot.image[..., ::-1], turned) and np.array_equal(shot.mask, mask)
        # An array has no tag: nothing contradicts its mask.
        assert inferencer.set_support([(picture[..., ::-1], tmp_path / 'mask.png')])

    def test_size_limit(self, inferencer: FewShotInferencer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr('mmfss.datasets.images.MAX_PIXELS', 100)
        with pytest.raises(ValueError, match='0.jpg has 80 x 60 pixels, more than the limit of 100.*max_pixels'):
            inferencer.set_support([pair(root, 'ant', 0)])
        larger = FewShotInferencer(inferencer.model, max_pixels=4800)
        assert larger(pair(root, 'ant', 1)[0], [pair(root, 'ant', 0)])['mask'].shape == (60, 80)
        with pytest.raises(ValueError, match='max_pixels must be a whole number of pixels above 0, got 0'):
            FewShotInferencer(inferencer.model, max_pixels=0)


class TestErrors:

    @pytest.mark.parametrize('query', [None, 3, [Image.new('RGB', (8, 8))], Image.new('RGB', (8, 8))])
    def test_queries_of_another_kind(self, inferencer: FewShotInferencer, root: Path, query: Any) -> None:
        with pytest.raises(ValueError, match='must be the name of a file or .*, got a (NoneType|int|Image)'):
            inferencer(query, [pair(root, 'ant', 0)])

    def test_supports_that_are_no_pairs(self, inferencer: FewShotInferencer, root: Path) -> None:
        image, mask = pair(root, 'ant', 0)
        for wrong in ((image, mask), [(image, mask, mask)], [(image, )], [image, mask], [None], None, 3):
            with pytest.raises(ValueError, match='of class "object" must be a list of one or more pairs'):
                inferencer.set_support(wrong)
        with pytest.raises(ValueError, match='A mask must be the name of a file or a NumPy array, got a Image'):
            inferencer.set_support([(image, Image.new('L', (80, 60)))])

    def test_a_model_that_takes_no_supports(self) -> None:
        model = torch.nn.Linear(1, 1)
        model.cfg = Config()
        with pytest.raises(ValueError, match='The model is a Linear, which uses no support images'):
            FewShotInferencer(model)

    def test_a_config_without_a_model(self) -> None:
        with pytest.raises(ConfigError, match='has no model'):
            init_model(Config(dict(a=1)))

    def test_no_support(self, inferencer: FewShotInferencer, root: Path) -> None:
        with pytest.raises(ValueError, match='No support set'):
            FewShotInferencer(inferencer.model)(pair(root, 'ant', 0)[0])
        with pytest.raises(ValueError, match='class "bee" must be a list of one or more pairs'):
            inferencer.set_support(dict(ant=[pair(root, 'ant', 0)], bee=[]))
        with pytest.raises(ValueError, match='class "object" must be a list of one or more pairs'):
            inferencer.set_support(pair(root, 'ant', 0))
        with pytest.raises(ValueError, match='no class'):
            inferencer.set_support({})

    def test_empty_mask(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / 'empty.png')
        with pytest.raises(ValueError, match='mask ".*empty.png" is empty'):
            inferencer.set_support([(pair(root, 'ant', 0)[0], tmp_path / 'empty.png')])
        image, mask = draw_picture('a', 0)
        with pytest.raises(ValueError, match='mask 2 of class "ant" is empty'):
            inferencer.set_support(dict(ant=[(image, mask), (image, np.zeros_like(mask))]))

    def test_mask_of_another_size(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        Image.fromarray(np.full((30, 80), 255, np.uint8)).save(tmp_path / 'small.png')
        with pytest.raises(ValueError, match=r'mask ".*small.png" has size \(30, 80\).*image ".*0.jpg" has \(60, 80\)'):
            inferencer.set_support([(pair(root, 'ant', 0)[0], tmp_path / 'small.png')])

    def test_unreadable_files(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        broken = tmp_path / 'broken.jpg'
        broken.write_bytes(Path(pair(root, 'ant', 0)[0]).read_bytes()[:300])
        with pytest.raises(ValueError, match='broken.jpg'):
            inferencer(broken, [pair(root, 'ant', 0)])
        (tmp_path / 'text.png').write_text('not an image')
        with pytest.raises(ValueError, match='text.png'):
            inferencer.set_support([(pair(root, 'ant', 0)[0], tmp_path / 'text.png')])
        with pytest.raises(FileNotFoundError, match='missing.png'):
            inferencer.set_support([(pair(root, 'ant', 0)[0], tmp_path / 'missing.png')])

    def test_wrong_arrays(self, inferencer: FewShotInferencer, root: Path) -> None:
        inferencer.set_support([pair(root, 'ant', 0)])
        with pytest.raises(ValueError, match='image array must be .*float64'):
            inferencer(np.zeros((8, 8, 3)))
        with pytest.raises(ValueError, match=r'mask array must be .*\(60, 80, 3\)'):
            inferencer.set_support([(pair(root, 'ant', 0)[0], np.zeros((60, 80, 3), bool))])

    def test_folder_without_images(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match='holds no image'):
            inferencer(tmp_path, [pair(root, 'ant', 0)])

    def test_vanishing_object(self, inferencer: FewShotInferencer) -> None:
        image, mask = draw_picture('a', 0, (640, 640))
        mask[:] = False
        mask[5, 5] = True
        with pytest.warns(UserWarning, match='mask 1 of class "object" is so small'):
            inferencer.set_support([(image, mask)])

    def test_constructor(self, inferencer: FewShotInferencer, cfg: Config, checkpoint: Path) -> None:
        with pytest.raises(ValueError, match='batch_size'):
            FewShotInferencer(inferencer.model, batch_size=0)
        with pytest.raises(ValueError, match='model.cfg'):
            FewShotInferencer(build_tiny_model())
        with pytest.raises(ValueError, match='checkpoint is given'):
            FewShotInferencer(inferencer.model, checkpoint)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with pytest.raises(ValueError, match='test_dataloader'):
                FewShotInferencer(Config(dict(model=TINY_MODEL)), device='cpu')
