"""``mmfss download`` from a local server, with small archives in the layout of the published ones."""
import hashlib
import io
import json
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from mmfss.commands import main
from mmfss.commands.runs import download as runs
from mmfss.converters.archives import unpack
from mmfss.converters.publishers import PUBLICATIONS
from mmfss.datasets import known_counts
from mmfss.datasets.known_counts import describe_counts
from mmfss.datasets.official_lists import OFFICIAL_LISTS
from mmfss.datasets.split_lists import coco_digest
from mmfss.utils import download as transfers
from mmfss.utils.download import DownloadError
from tests.servers import Publisher, publisher

VOC = 'VOCdevkit/VOC2012'
COCO_LISTS = {0: ['val2014/COCO_val2014_000000000042.jpg'], 4: []}


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = 'w', link: str = '') -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, '/etc'
            archive.addfile(info)
    return buffer.getvalue()


def png(labels: np.ndarray) -> bytes:
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def mat(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, dict(GTcls=dict(Segmentation=labels, Boundaries=labels, CategoriesPresent=np.array([[1]]))))
    return buffer.getvalue()


def labels(value: int) -> np.ndarray:
    return np.full((4, 6), value, np.uint8)


def voc_archive() -> bytes:
    """Photographs a, b, c, d; a and b have masks of VOC 2012, in train and val."""
    files = {f'{VOC}/JPEGImages/{name}.jpg': name.encode() for name in 'abcd'}
    files.update({f'{VOC}/SegmentationClass/{name}.png': png(labels(255)) for name in 'ab'})
    files.update({f'{VOC}/ImageSets/Segmentation/{name}.txt': f'{stem}\n'.encode()
                  for name, stem in (('train', 'a'), ('val', 'b'))})
    return tarred(files)


def sbd_archive() -> bytes:
    """Masks of a, b (which VOC 2012 has, too) and c."""
    files = {'benchmark_RELEASE/README': b'', 'benchmark_RELEASE/dataset/train.txt': b'a\n'}
    files.update({f'benchmark_RELEASE/dataset/{kind}/{name}.mat': mat(labels(2)) for kind in ('cls', 'inst')
                  for name in 'abc'})
    return tarred(files, 'w:gz')


ARCHIVES = {
    'VOCtrainval_11-May-2012.tar': voc_archive,
    'benchmark.tgz': sbd_archive,
    'annotations_trainval2014.zip': lambda: zipped({
        f'annotations/{kind}2014.json': b'{}' for kind in ('captions_val', 'instances_train', 'instances_val')}),
    'train2014.zip': lambda: zipped({'train2014/': b'', 'train2014/COCO_train2014_000000000009.jpg': b'9'}),
    'val2014.zip': lambda: zipped({'val2014/': b'', 'val2014/COCO_val2014_000000000042.jpg': b'42'}),
    'fewshot_data.zip': lambda: zipped({
        'fewshot_data/': b'', **{f'fewshot_data/fewshot_data/{name}/{number}.{suffix}': b'x' for name in ('ant', 'bee')
                                 for number in (1, 10) for suffix in ('jpg', 'png')},
        '__MACOSX/fewshot_data/ant/._1.jpg': b'x', 'fewshot_data/fewshot_data/ant/Thumbs.db': b'x'}),
    'lvis_v1_val.json.zip': lambda: zipped({'lvis_v1_val.json': b'{}'}),
    'train2017.zip': lambda: zipped({'train2017/000000000009.jpg': b'9'}),
    'val2017.zip': lambda: zipped({'val2017/000000000139.jpg': b'139'}),
    'ADEChallengeData2016.zip': lambda: zipped({
        f'ADEChallengeData2016/{kind}/validation/ADE_val_00000001.{suffix}': b'1'
        for kind, suffix in (('images', 'jpg'), ('annotations', 'png'))}),
    'ISIC2018_Task1_Training_GroundTruth.zip': lambda: zipped({
        'ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png': b'0',
        'ISIC2018_Task1_Training_GroundTruth/ATTRIBUTION.txt': b''}),
    'ISIC2018_Task1-2_Training_Input.zip': lambda: zipped({'ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg': b'0'}),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher of all archives, known under their real names with their own checksums."""
    monkeypatch.setattr(transfers, '_PAUSE', 0.)
    for name in ('MMFSS_OFFLINE', 'http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with publisher() as served:
        for name, data in PUBLICATIONS.items():
            archives = []
            for archive in data.archives:
                content = served.files[f'/{archive.file_name}'] = ARCHIVES[archive.file_name]()
                checksum = f'sha256:{hashlib.sha256(content).hexdigest()}' if archive.checksum else ''
                archives.append(archive._replace(
                    url=f'{served.address}/{archive.file_name}', checksum=checksum, size=archive.size and len(content)))
            monkeypatch.setitem(runs.PUBLICATIONS, name, data._replace(archives=tuple(archives)))
        yield served


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['mmfss'])
    try:
        main.main(['download', *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                  if path.is_file() and path.parent.name != 'downloads')


class TestDatasets:

    def test_voc_and_sbd(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture) -> None:
        root, sizes = tmp_path / 'data', ((4, 2), (3, ))
        for name, numbers in zip(('voc2012', 'sbd'), sizes):
            folder, counts = runs.COUNTS[name]
            counts = tuple(count._replace(known=number) for count, number in zip(counts, numbers))
            monkeypatch.setitem(runs.COUNTS, name, (folder, counts))
        # In any order: SBD needs VOC 2012.
        assert call(monkeypatch, 'sbd', 'voc2012', '--data-root', root) == 0
        text = capsys.readouterr().out
        assert 'photographs: 4 (all)' in text and 'masks with those of SBD: 3 (all)' in text
        assert 'terms of use: http://host.robots.ox.ac.uk' in text
        masks = {path.stem: np.array(Image.open(path)) for path in (root / VOC / 'SegmentationClassAug').iterdir()}
        assert {stem: set(mask.flat) for stem, mask in masks.items()} == dict(a={255}, b={255}, c={2})
        assert Image.open(root / VOC / 'SegmentationClassAug/c.png').mode == 'P'
        sets = root / VOC / 'ImageSets/Segmentation'
        assert (sets / 'aug.txt').read_text() == 'c\n' and (sets / 'trainaug.txt').read_text() == 'a\nc\n'
        # Archives are gone, their records stay, and nothing is asked for again.
        assert {path.suffix for path in (root / 'downloads').iterdir()} == {'.json'}
        record = json.loads((root / 'downloads/benchmark.tgz.json').read_text())
        assert record['files'] == 1 and record['url'].endswith('benchmark.tgz')
        requests = len(server.requests)
        assert call(monkeypatch, 'voc2012', 'sbd', '--data-root', root) == 0 and len(server.requests) == requests

    @pytest.mark.parametrize('name, expected', [
        ('coco2014', ['coco2014/annotations/instances_train2014.json', 'coco2014/annotations/instances_val2014.json',
                      'coco2014/train2014/COCO_train2014_000000000009.jpg',
                      'coco2014/val2014/COCO_val2014_000000000042.jpg']),
        ('fss1000', [f'FSS-1000/{name}/{file}' for name in ('ant', 'bee')
                     for file in ('1.jpg', '1.png', '10.jpg', '10.png')]),
        ('lvis', ['lvis/lvis_v1_val.json', 'lvis/train2017/000000000009.jpg', 'lvis/val2017/000000000139.jpg']),
        ('ade20k', ['ade/ADEChallengeData2016/annotations/validation/ADE_val_00000001.png',
                    'ade/ADEChallengeData2016/images/validation/ADE_val_00000001.jpg']),
        ('isic', ['ISIC/ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg',
                  'ISIC/ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png']),
    ])
    def test_layout(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                    expected: list[str], capsys: pytest.CaptureFixture) -> None:
        """The archives are smaller than the published ones, and that is said."""
        assert call(monkeypatch, name, '--data-root', tmp_path, '--keep-archives') == 1
        assert files(tmp_path) == expected
        text = capsys.readouterr().out
        assert ' of ' in text and f'delete its record in {tmp_path}' in text
        kept = {path.name for path in (tmp_path / 'downloads').iterdir() if path.suffix != '.json'}
        assert kept == {archive.file_name for archive in PUBLICATIONS[name].archives}

    def test_sbd_alone(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                       capsys: pytest.CaptureFixture) -> None:
        assert call(monkeypatch, 'sbd', '--data-root', tmp_path) == 1
        assert 'run "mmfss download voc2012 sbd"' in capsys.readouterr().err and not server.requests

    def test_cut_connection(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.cut_after, server.cuts = 1000, 1
        call(monkeypatch, 'voc2012', '--data-root', tmp_path)
        assert server.requests == [('/VOCtrainval_11-May-2012.tar', None),
                                   ('/VOCtrainval_11-May-2012.tar', 'bytes=1000-')]
        assert len(list((tmp_path / VOC / 'JPEGImages').iterdir())) == 4

    def test_wrong_checksum(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture) -> None:
        content = server.files['/VOCtrainval_11-May-2012.tar']
        server.files['/VOCtrainval_11-May-2012.tar'] = content[:-1] + b'x'
        assert call(monkeypatch, 'voc2012', '--data-root', tmp_path) == 1
        assert 'not the file that was published (sha256' in capsys.readouterr().err and not files(tmp_path)

    def test_no_space(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      capsys: pytest.CaptureFixture) -> None:
        # Enough for the archive, not for what is in it.
        sizes = iter([10**9, 0])
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=next(sizes)))
        assert call(monkeypatch, 'fss1000', '--data-root', tmp_path) == 1
        assert 'MB of files more, but' in capsys.readouterr().err and not files(tmp_path)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=10**9))
        call(monkeypatch, 'fss1000', '--data-root', tmp_path)
        assert len(files(tmp_path)) == 8 and len(server.requests) == 1

    def test_no_network(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture) -> None:
        monkeypatch.setenv('MMFSS_OFFLINE', '1')
        assert call(monkeypatch, 'fss1000', '--data-root', tmp_path) == 1
        assert 'fewshot_data.zip" was not downloaded: MMFSS_OFFLINE is set' in capsys.readouterr().err

    def test_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        assert call(monkeypatch) == 0
        text = capsys.readouterr().out
        assert all(f'| {name} ' in text for name in [*PUBLICATIONS, 'splits'])
        assert call(monkeypatch, 'coco2O14') == 1 and 'Did you mean coco2014' in capsys.readouterr().err
        assert call(monkeypatch, 'deepglobe') == 1 and 'behind a registration' in capsys.readouterr().err
        assert call(monkeypatch, 'nowhere.py') == 1 and '"nowhere.py" does not exist' in capsys.readouterr().err


class TestUnpack:

    def test_continues(self, tmp_path: Path) -> None:
        (tmp_path / 'a.zip').write_bytes(zipped({'x/1.jpg': b'one', 'x/2.jpg': b'two'}))
        (tmp_path / 'out/x').mkdir(parents=True)
        (tmp_path / 'out/x/1.jpg').write_bytes(b'ONE')
        (tmp_path / 'out/x/2.jpg').write_bytes(b't')
        assert unpack(tmp_path / 'a.zip', tmp_path / 'out') == 2
        assert [(tmp_path / f'out/x/{number}.jpg').read_bytes() for number in (1, 2)] == [b'ONE', b'two']

    @pytest.mark.parametrize('name', ['../x.jpg', '/x.jpg', 'a/../../x.jpg', 'C:x.jpg', '..\\x.jpg'])
    @pytest.mark.parametrize('pack', [zipped, tarred])
    def test_paths_outside(self, tmp_path: Path, name: str, pack: type) -> None:
        (tmp_path / 'a.bin').write_bytes(pack({name: b'x'}))
        with pytest.raises(DownloadError, match='outside of the folder'):
            unpack(tmp_path / 'a.bin', tmp_path / 'out')
        assert files(tmp_path) == ['a.bin']

    def test_links(self, tmp_path: Path) -> None:
        (tmp_path / 'a.tar').write_bytes(tarred({}, link='x'))
        with pytest.raises(DownloadError, match='"x", which is no file'):
            unpack(tmp_path / 'a.tar', tmp_path / 'out')

    @pytest.mark.parametrize('content', [b'nothing', zipped({'x.jpg': b'x' * 99})[:60], voc_archive()[:400],
                                         zipped({'x.jpg': b'abc'}).replace(b'abc', b'abd')])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / 'a.bin').write_bytes(content)
        with pytest.raises(DownloadError, match='delete it, and try again'):
            unpack(tmp_path / 'a.bin', tmp_path / 'out')
        assert files(tmp_path) == ['a.bin']

    def test_nothing_that_is_wanted(self, tmp_path: Path) -> None:
        (tmp_path / 'a.zip').write_bytes(zipped({'README': b'x'}))
        with pytest.raises(DownloadError, match='none of the expected files'):
            unpack(tmp_path / 'a.zip', tmp_path / 'out', r'(\w+\.jpg)$')


class TestSplits:

    @pytest.fixture
    def lists(self, server: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
        """Small lists in the place of the published ones."""
        for benchmark, part in OFFICIAL_LISTS:
            if benchmark == 'coco':
                content, digest = pickle.dumps(COCO_LISTS), coco_digest(COCO_LISTS)
            else:
                content = f'{benchmark} {part}\n'.encode()
                digest = hashlib.sha256(content).hexdigest()
            server.files[f'/{benchmark}/{part}.{"pkl" if benchmark == "coco" else "txt"}'] = content
            monkeypatch.setitem(OFFICIAL_LISTS, (benchmark, part), digest)
        monkeypatch.setattr(runs, 'SPLITS_URL', server.address + '/{benchmark}/{part}')

    @pytest.mark.usefixtures('lists')
    def test_recognized(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture) -> None:
        assert call(monkeypatch, 'splits', '--data-root', tmp_path) == 0
        text = capsys.readouterr().out
        assert text.count('8 of 8 published ones') == 2 and text.count('3 of 3 published ones') == 1
        assert (tmp_path / 'splits/coco/val/fold3.pkl').is_file() and (tmp_path / 'splits/fss/test.txt').is_file()

    @pytest.mark.usefixtures('lists')
    def test_others(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture) -> None:
        server.files['/pascal/trn/fold1.txt'] = b'changed'
        assert call(monkeypatch, 'splits', '--data-root', tmp_path) == 1
        assert '7 of 8 published ones' in (text := capsys.readouterr().out) and 'others: trn/fold1.txt' in text


class TestCounts:

    def test_of_a_config(self, tmp_path: Path) -> None:
        (tmp_path / 'JPEGImages').mkdir()
        for name in ('a.jpg', 'b.jpg', 'c.txt', '.a.jpg.part'):
            (tmp_path / 'JPEGImages' / name).touch()
        cfg = dict(type='Pascal5iDataset', data_root=str(tmp_path), split_dir=str(tmp_path))
        assert describe_counts(cfg) == [
            'photographs: 2 of 17,125', 'masks of VOC 2012: 0 of 2,913', 'masks with those of SBD: 0 of 12,031',
            f'split lists: 0 of 8 published ones in {tmp_path}']
        assert describe_counts(dict(type='ImageFolderDataset', data_root=str(tmp_path))) == []

    def test_every_dataset_is_counted(self) -> None:
        assert set(runs.COUNTS) == set(PUBLICATIONS)
        assert all(count.known > 0 for _, counts in runs.COUNTS.values() for count in counts)
        assert known_counts.count_files('nowhere', '*/*.jpg') == 0


class TestWeights:

    def test_of_a_config(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture) -> None:
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        buffer = io.BytesIO()
        torch.save(dict(weight=torch.ones(1)), buffer)
        server.files['/a.pth'] = server.files['/b.pth'] = buffer.getvalue()
        init = [f"dict(type='Pretrained', checkpoint='{server.address}/{name}.pth')" for name in 'aab']
        (tmp_path / 'model.py').write_text(f'model = dict(backbone=dict(init_cfg={init[0]}), heads=[\n    '
                                           f'dict(init_cfg={init[1]}), dict(init_cfg={init[2]})])\n')
        assert call(monkeypatch, tmp_path / 'model.py', '--data-root', tmp_path) == 0
        assert '2 files' in capsys.readouterr().out
        assert files(tmp_path / 'torch') == ['hub/checkpoints/a.pth', 'hub/checkpoints/b.pth']

    def test_by_name(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        monkeypatch.setenv('MMFSS_OFFLINE', '1')
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        assert call(monkeypatch, 'dcama_swinb_coco20i_fold0', '--data-root', tmp_path) == 1
        assert 'swin_base_patch4_window12_384_22kto1k.pth" was not downloaded' in capsys.readouterr().err
