"""The converters of the cross-domain sets, run as a user runs them on tiny downloads."""

import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.converters.deepglobe_tiles import COLORS, VARIANTS, mask_tiles, tile_windows
from mmfss.datasets import DeepGlobeDataset, ISICDataset, ISICIndex, LungDataset
from tests.references.seeded import seeded_image
from tests.test_datasets.layouts import PIPELINE, boxes_mask, save_image, save_mask

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / 'tests' / 'data' / 'datasets' / 'deepglobe_tiles.json').read_text())
KEYS = dict(rgb='water_fixed', released='dmtnet_script')
PALETTE = np.uint8(
    [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]
)


@pytest.fixture
def run_tool(monkeypatch):
    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / 'dataset_converters' / tool), run_name='__main__')

    return run


@pytest.fixture
def fail_tool(run_tool, capsys):
    """Run a tool that must fail; returns what it says."""

    def run(tool, *arguments):
        with pytest.raises(SystemExit) as exit_info:
            run_tool(tool, *arguments)
        assert exit_info.value.code == 1
        error = capsys.readouterr().err
        assert 'Traceback' not in error
        return error

    return run


def golden_mask():
    """The synthetic 2448 x 2448 mask of the golden numbers, (H, W, 3) uint8 RGB."""
    base = seeded_image('deepglobe_label', (7, 48, 48), 0)[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    labels = (base + 0.15 * seeded_image('deepglobe_label_fine', (7, 48, 48), 0)).argmax(0)
    return PALETTE[labels.repeat(51, 0).repeat(51, 1)]


class TestTiles:
    @pytest.mark.parametrize('variant', VARIANTS)
    def test_golden(self, variant):
        golden = GOLDEN[KEYS[variant]]
        tiles = list(mask_tiles(golden_mask(), VARIANTS[variant]))
        assert [f'42_mask_{tile.suffix}' for tile in tiles] == golden['kept'] and len(tiles) == 19
        for folder in COLORS:
            pixels = {f'42_mask_{tile.suffix}': int(tile.masks[folder].sum()) for tile in tiles if folder in tile.masks}
            assert pixels == golden['classes'][str(folder)]

    def test_the_variants_differ_in_water_only(self):
        assert GOLDEN['dmtnet_script']['classes'].pop('5') == {} != GOLDEN['water_fixed']['classes']['5']
        assert {key for key in COLORS if COLORS[key] != VARIANTS['released'][key]} == {5}

    def test_windows_cover_any_size(self):
        covered = np.zeros((20, 13), int)
        for _, rows, columns in tile_windows(20, 13):
            covered[rows, columns] += 1
        assert (covered == 1).all()

    @pytest.mark.parametrize('rare, kept', [(4, False), (5, True)])
    def test_every_colour_needs_more_than_the_share(self, rare, kept):
        # A tile of 100 pixels counts if its rare colour covers more than 4.8 of them, also if it is no class's.
        for color in (PALETTE[4], PALETTE[6], (1, 2, 3)):
            mask = np.tile(PALETTE[0], (60, 60, 1))
            mask[10, 20 : 20 + rare] = color
            assert [tile.suffix for tile in mask_tiles(mask)] == (['12'] if kept else [])

    def test_a_colour_of_no_class_has_no_mask(self):
        mask = np.tile(PALETTE[0], (60, 60, 1))
        mask[:5, :10] = PALETTE[6]
        (tile,) = mask_tiles(mask)
        assert tile.suffix == '00' and list(tile.masks) == [2] and tile.masks[2].sum() == 50


class TestDeepGlobe:
    def write(self, root, ids=('10452', '95613'), size=60):
        for number, name in enumerate(ids):
            labels = np.zeros((12, 12), int)
            labels[:2] = np.random.RandomState(number).randint(0, 6, (2, 12))  # tiles of the first row count
            labels = labels.repeat(size // 12, 0).repeat(size // 12, 1)
            save_image(root / f'{name}_sat.jpg', number, (size, size))
            Image.fromarray(PALETTE[labels]).save(root / f'{name}_mask.png')
        return root

    def test_real_size(self, run_tool, tmp_path, capsys):
        mask = golden_mask()
        save_image(tmp_path / 'src' / '42_sat.jpg', 0, mask.shape[:2])
        Image.fromarray(mask).save(tmp_path / 'src' / '42_mask.png')
        run_tool('deepglobe.py', tmp_path / 'src', tmp_path / 'out')
        golden, record = GOLDEN['water_fixed'], json.loads((tmp_path / 'out' / 'deepglobe.json').read_text())
        assert record['kept'] == golden['kept'] and record['tiles'] == golden['tiles']
        assert record['classes'] == golden['classes']
        assert '19 of 36 tiles count; masks by class: 1: 17, 2: 17, 3: 18' in capsys.readouterr().out
        for folder, tiles in golden['classes'].items():
            paths = sorted((tmp_path / 'out' / 'filter_mask' / folder).iterdir())
            assert [path.stem for path in paths] == sorted(tiles)
            stored = np.array(Image.open(paths[0]))
            assert stored.shape == (408, 408) and set(np.unique(stored)) <= {0, 255}
            assert (stored == 255).sum() == tiles[paths[0].stem]
        assert len(list((tmp_path / 'out' / 'image').iterdir())) == 19

    def test_image_and_mask_are_cut_alike(self, run_tool, tmp_path):
        src = self.write(tmp_path / 'src')
        water = (np.array(Image.open(src / '10452_mask.png')) == PALETTE[4]).all(-1)
        Image.fromarray(np.where(water, 230, 20).astype(np.uint8)).save(src / '10452_sat.jpg', quality=100)
        run_tool('deepglobe.py', src, tmp_path / 'out', '--quality', 100)
        dataset = DeepGlobeDataset(str(tmp_path / 'out'), PIPELINE)
        names = [name for name in dataset.lists.images_of(4) if name.startswith('10452')]
        for name in names:
            water = dataset.index.load_class_mask(name, 4) == 1
            tile = np.array(Image.open(dataset.index.image_path(name)).convert('L'))
            assert tile[water].min() > 180 and tile[~water].max() < 70
        assert names
        assert dataset[4]['data_samples'].class_names == ['water']

    def test_released_variant(self, run_tool, tmp_path):
        src = self.write(tmp_path / 'src')
        run_tool('deepglobe.py', src, tmp_path / 'out', '--variant', 'released')
        assert not any((tmp_path / 'out' / 'filter_mask' / '5').iterdir())
        with pytest.raises(ValueError, match='Class "water"'):
            DeepGlobeDataset(str(tmp_path / 'out'), PIPELINE)

    def test_resumes(self, run_tool, fail_tool, tmp_path):
        src, out = self.write(tmp_path / 'src', ('1', '2', '3')), tmp_path / 'out'
        whole = (src / '2_mask.png').read_bytes()
        (src / '2_mask.png').write_bytes(whole[:-40])
        assert '2_mask.png is corrupt' in fail_tool('deepglobe.py', src, out, '--jobs', 1)
        first = {path: path.stat().st_mtime_ns for path in out.rglob('1_*')}
        assert first and not (out / 'deepglobe.json').exists() and not list(out.rglob('2_*'))
        (src / '2_mask.png').write_bytes(whole)
        run_tool('deepglobe.py', src, out)
        assert {path: path.stat().st_mtime_ns for path in out.rglob('1_*')} == first and list(out.rglob('2_*'))
        run_tool('deepglobe.py', src, tmp_path / 'fresh')
        assert (out / 'deepglobe.json').read_text() == (tmp_path / 'fresh' / 'deepglobe.json').read_text()
        # A file that was lost is made again.
        lost = next((out / 'filter_mask').rglob('2_*'))
        content = lost.read_bytes()
        lost.unlink()
        run_tool('deepglobe.py', src, out)
        assert lost.read_bytes() == content
        assert "was begun with {'variant': 'rgb', 'quality': 95}, not {'variant': 'released'" in fail_tool(
            'deepglobe.py', src, out, '--variant', 'released')

    def test_wrong_sources(self, fail_tool, tmp_path):
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'empty' / '._95613_mask.png').write_bytes(b'Mac OS X')  # hidden files are no masks
        assert 'holds no <id>_mask.png' in fail_tool('deepglobe.py', tmp_path / 'empty', tmp_path / 'out')
        src = self.write(tmp_path / 'src')
        (src / '95613_sat.jpg').unlink()
        assert '1 satellite image file(s) do not exist, first' in fail_tool('deepglobe.py', src, tmp_path / 'out')
        save_image(src / '95613_sat.jpg', 0, (60, 48))
        assert 'has size (60, 60) (H, W), its image (60, 48)' in fail_tool('deepglobe.py', src, tmp_path / 'out')
        assert '--quality must be 1..100' in fail_tool('deepglobe.py', src, tmp_path / 'out', '--quality', 0)


class TestISIC:
    LABELS = ('nevus', 'melanoma', 'seborrheic_keratosis')

    def write(self, root, per_class=3):
        rows = ['ID,Class']
        for number in range(3 * per_class):
            name = f'ISIC_{number:07d}'
            rows.append(f'{name},{self.LABELS[number % 3]}')
            save_image(root / ISICIndex.IMAGES / f'{name}.jpg', number)
            save_mask(root / ISICIndex.MASKS / f'{name}_segmentation.png', boxes_mask([(255, 2, 2, 9, 9)]))
        (root / 'class_id.csv').write_text('\n'.join(rows) + '\n')
        return root

    @pytest.mark.parametrize('link', [[], ['--link']])
    def test_sorts_into_class_folders(self, run_tool, tmp_path, link, capsys):
        src, out = self.write(tmp_path / 'src'), tmp_path / 'out'
        run_tool('isic.py', src, out, *link)
        dataset = ISICDataset(str(out), PIPELINE)
        assert dataset.lists.images_of(2) == [f'3/ISIC_{number:07d}.jpg' for number in (2, 5, 8)]
        assert dataset[1]['data_samples'].class_names == ['melanoma']
        assert os.path.samefile(src / ISICIndex.IMAGES / 'ISIC_0000002.jpg',
                                out / ISICIndex.IMAGES / '3' / 'ISIC_0000002.jpg') == bool(link)
        assert '1 nevus: 3, 2 melanoma: 3, 3 seborrheic_keratosis: 3' in capsys.readouterr().out

    def test_released_variant_and_in_place(self, run_tool, tmp_path):
        src = self.write(tmp_path / 'src')
        run_tool('isic.py', src, src, '--variant', 'released')
        assert not any((src / ISICIndex.IMAGES / '3').iterdir())
        with pytest.raises(ValueError, match='Class "seborrheic_keratosis" .* has 0 image'):
            ISICDataset(str(src), PIPELINE)
        run_tool('isic.py', src, src)
        assert len(ISICDataset(str(src), PIPELINE).lists) == 9

    def test_resumes(self, run_tool, tmp_path, capsys):
        src, out = self.write(tmp_path / 'src'), tmp_path / 'out'
        run_tool('isic.py', src, out)
        broken = out / ISICIndex.IMAGES / '1' / 'ISIC_0000003.jpg'
        whole = broken.read_bytes()
        broken.write_bytes(whole[:50])
        (out / ISICIndex.MASKS / 'ISIC_0000004_segmentation.png').unlink()
        capsys.readouterr()
        run_tool('isic.py', src, out)
        assert '2 of 18 files written' in capsys.readouterr().out and broken.read_bytes() == whole

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda src: (src / 'class_id.csv').unlink(), 'class_id.csv" does not exist; name it with --csv'),
            (lambda src: (src / 'class_id.csv').write_text('id,label\n'), 'must have the columns ID and Class'),
            (
                lambda src: (src / 'class_id.csv').write_text('ID,Class\nISIC_0000000,seborrheic keratosis\n'),
                'class_id.csv", line 2: unknown class "seborrheic keratosis"; known are nevus, melanoma',
            ),
            (
                lambda src: (src / 'class_id.csv').write_text('ID,Class\nISIC_0000000,nevus\nISIC_0000000,nevus\n'),
                'line 3: "ISIC_0000000" is listed twice',
            ),
            (
                lambda src: (src / ISICIndex.IMAGES / 'ISIC_0000004.jpg').unlink(),
                '1 listed image file(s) do not exist, first',
            ),
            (
                lambda src: (src / ISICIndex.MASKS / 'ISIC_0000004_segmentation.png').unlink(),
                'ISIC_0000004_segmentation.png"',
            ),
            (lambda src: (src / ISICIndex.MASKS).rename(src / 'masks'), 'GroundTruth" does not exist; SRC must hold'),
        ],
    )
    def test_wrong_sources(self, change, message, fail_tool, tmp_path):
        src = self.write(tmp_path / 'src')
        change(src)
        assert message in fail_tool('isic.py', src, tmp_path / 'out')
        assert not list((tmp_path / 'out').rglob('*.jpg'))


class TestLung:
    def write(self, root):
        for number in range(3):
            name = f'MCUCXR_{number:04d}_0.png'
            save_mask(root / 'mcu' / 'CXR_png' / name, np.full((24, 30), 50 + number))
            save_mask(root / 'mcu' / 'ManualMask' / 'leftMask' / name, boxes_mask([(255, 2, 2, 20, 10)]))
            save_mask(root / 'mcu' / 'ManualMask' / 'rightMask' / name, boxes_mask([(255, 2, 15, 20, 25)]))
            name = f'CHNCXR_{number:04d}_1'
            save_mask(root / 'chn' / f'{name}.png', np.full((24, 30), 90 + number))
            save_mask(root / 'chn_masks' / f'{name}_mask.png', boxes_mask([(255, 4, 4, 9, 9)]))
        save_mask(root / 'chn' / 'CHNCXR_0009_1.png', np.zeros((24, 30)))
        return root

    def arguments(self, root):
        return [root / 'out', '--montgomery', root / 'mcu', '--shenzhen', root / 'chn', '--shenzhen-masks',
                root / 'chn_masks']  # yapf: disable

    def test_both_sources(self, run_tool, tmp_path, capsys):
        run_tool('lung.py', *self.arguments(self.write(tmp_path)))
        dataset = LungDataset(str(tmp_path / 'out'), PIPELINE)
        assert dataset.lists.images_of(0)[::5] == ['CHNCXR_0000_1.png', 'MCUCXR_0002_0.png'] and len(dataset.lists) == 6
        assert dataset.index.load_class_mask('MCUCXR_0001_0.png', 0).sum() == 18 * 8 + 18 * 10  # both lungs
        assert dataset.index.load_class_mask('CHNCXR_0001_1.png', 0).sum() == 25
        assert '3 + 3 images and masks' in capsys.readouterr().out

    def test_resumes(self, run_tool, tmp_path):
        arguments = self.arguments(self.write(tmp_path))
        run_tool('lung.py', *arguments)
        kept = tmp_path / 'out' / 'masks' / 'MCUCXR_0000_0.png'
        stamp = kept.stat().st_mtime_ns
        (tmp_path / 'out' / 'masks' / 'MCUCXR_0001_0.png').unlink()
        run_tool('lung.py', *arguments)
        assert kept.stat().st_mtime_ns == stamp and len(LungDataset(str(tmp_path / 'out'), PIPELINE).lists) == 6

    @pytest.mark.parametrize(
        'file, message',
        [
            ('mcu/ManualMask/rightMask/MCUCXR_0001_0.png', '1 mask file(s) do not exist, first'),
            ('chn/CHNCXR_0001_1.png', '1 image file(s) do not exist, first'),
        ],
    )
    def test_half_a_pair(self, file, message, fail_tool, tmp_path):
        arguments = self.arguments(self.write(tmp_path))
        (tmp_path / file).unlink()
        error = fail_tool('lung.py', *arguments)
        assert message in error and file in error and not (tmp_path / 'out').exists()

    def test_wrong_sources(self, fail_tool, tmp_path):
        arguments = self.arguments(self.write(tmp_path))
        save_mask(tmp_path / 'mcu' / 'ManualMask' / 'leftMask' / 'MCUCXR_0002_0.png', np.zeros((5, 5)))
        assert 'masks of "MCUCXR_0002_0.png" in' in fail_tool('lung.py', *arguments)
        (tmp_path / 'mcu' / 'CXR_png').rename(tmp_path / 'mcu' / 'images')
        assert 'CXR_png" holds no MCUCXR_*.png' in fail_tool('lung.py', *arguments)
