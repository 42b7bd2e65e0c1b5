"""Files of a job over many pictures: names, what is kept, and what failed."""
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmfss.apis import FailedQueries, FewShotInferencer
from mmfss.apis.prediction_files import JobRecord, PredictionWriter
from tests.tiny.data import PIPELINE, draw_picture, write_class_folders
from tests.tiny.model import build_tiny_model

PICTURE, MASK = np.zeros((6, 8, 3), np.uint8), np.ones((6, 8), np.uint8)


def write(writer: PredictionWriter, query: Any, image: np.ndarray = PICTURE) -> str:
    return Path(writer(query, image, MASK, 1)['mask_path']).name


class TestNames:

    def test_equal_stems(self, tmp_path: Path) -> None:
        queries = ['x/a.jpg', 'x/a.png', 'y/a.jpg', 'x/b.jpg', 'x/a_2.jpg']
        names = [write(PredictionWriter(tmp_path), query) for query in queries]  # one call each
        assert names == ['a.png', 'a_2.png', 'a_3.png', 'b.png', 'a_2_2.png']
        # In any order, from any folder, and in one call, each query finds its own name again.
        writer = PredictionWriter(tmp_path)
        assert [write(writer, query) for query in queries[::-1]] == names[::-1]
        assert write(writer, os.path.abspath('x/a.png')) == 'a_2.png' and write(writer, Path('y/a.jpg')) == 'a_3.png'
        assert len(list((tmp_path / 'masks').iterdir())) == len(list((tmp_path / 'overlays').iterdir())) == 5

    def test_arrays_of_two_calls(self, tmp_path: Path) -> None:
        assert write(PredictionWriter(tmp_path), 0) == 'query_00000.png'
        assert write(PredictionWriter(tmp_path), 0, PICTURE + 1) == 'query_00000_2.png'
        assert write(PredictionWriter(tmp_path), 0) == 'query_00000.png'

    @pytest.mark.parametrize('content', [b'', b'GIF89a', None])
    def test_files_of_others_stay(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / 'masks' / 'a.png'
        path.parent.mkdir()
        if content is None:
            Image.fromarray(MASK).save(path)
        else:
            path.write_bytes(content)
        before = path.read_bytes()
        assert write(PredictionWriter(tmp_path), 'a.jpg') == 'a_2.png' and path.read_bytes() == before

    def test_long_names_and_names_that_are_no_text(self, tmp_path: Path) -> None:
        writer = PredictionWriter(tmp_path)
        queries = os.fsdecode(b'caf\xe9.jpg'), '\xe9' * 125 + '.jpg', 'x' * 251 + '.jpg'
        names = [write(writer, query) for query in queries]
        assert names[0] == 'caf%E9.png' and all(len(os.fsencode(name)) <= 240 for name in names)
        assert write(writer, 'y/' + 'x' * 251 + '.jpg') not in names


class TestRecord:

    def entries(self, path: Path) -> list:
        return json.loads((path / 'results.json').read_text(encoding='utf-8'))

    def test_two_jobs_in_a_folder(self, tmp_path: Path) -> None:
        first = JobRecord(tmp_path)
        first.add(dict(query='a.jpg', mask_path='masks/a.png', mask=MASK))
        first.fail('b.jpg', ValueError('cut off'))
        first.add(dict(query=0, mask_path='masks/query_00000.png', mask=MASK))
        first.save()
        second = JobRecord(tmp_path)
        second.add(dict(query='b.jpg', mask_path='masks/b.png', mask=MASK))
        second.add(dict(query=0, mask_path='masks/query_00000_2.png', mask=MASK))
        second.save()
        assert [(entry['query'], entry.get('mask_path', '')[6:]) for entry in self.entries(tmp_path)] == [
            ('a.jpg', 'a.png'), (0, 'query_00000.png'), ('b.jpg', 'b.png'), (0, 'query_00000_2.png')]
        assert all('mask' not in entry and 'error' not in entry for entry in self.entries(tmp_path))

    @pytest.mark.parametrize('content', ['{"mIoU": 3}', '[1]', 'half of'])
    def test_results_of_something_else(self, tmp_path: Path, content: str) -> None:
        (tmp_path / 'results.json').write_text(content)
        with pytest.raises(ValueError, match='results.json" is there already, but does not list predictions'):
            JobRecord(tmp_path)
        assert (tmp_path / 'results.json').read_text() == content

    def test_is_written_while_the_job_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr('mmfss.apis.prediction_files.time.monotonic', lambda: now[0])
        record = JobRecord(tmp_path)
        for second in range(4):
            now[0] = second * 0.6
            record.add(dict(query=f'{second}.jpg', mask_path=f'{second}.png'))
        assert len(self.entries(tmp_path)) == 3  # at 1.2 s; the next time is 2.2 s

    def test_many_failures(self) -> None:
        record = JobRecord()
        for number in range(30):
            record.fail(os.fsdecode(b'%d\xe9.jpg' % number), ValueError('cut off'))
        with pytest.raises(FailedQueries, match=r'30 of 30 queries could not(.|\n)*  0\\udce9.jpg: cut off\n'
                           r'(.|\n)*and 10 more'):
            record.raise_failures()


class TestJobs:

    @pytest.fixture(scope='class')
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_class_folders(tmp_path_factory.mktemp('jobs'), ('ant', 'bee'), num_images=3)

    @pytest.fixture(scope='class')
    def inferencer(self, root: Path) -> FewShotInferencer:
        model = build_tiny_model()
        model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
        inferencer = FewShotInferencer(model, batch_size=2)
        inferencer.set_support([(root / 'bee' / 'images' / '0.jpg', root / 'bee' / 'masks' / '0.png')])
        return inferencer

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Pictures, two of which are faulty, with names of every kind."""
        folder = tmp_path / 'queries'
        folder.mkdir()
        names = [os.fsdecode(b'a\xe9.png'), 'cafe\u0301.png', 'x' * 251 + '.png', 'z.png', 'z.jpg']
        for number, name in enumerate(names):
            Image.fromarray(draw_picture(str(number), 1)[0]).save(folder / name)
        (folder / 'broken.png').write_bytes((folder / 'z.png').read_bytes()[:500])
        (folder / 'empty.jpg').write_bytes(b'')
        for name in ('.DS_Store', '._z.png', 'Thumbs.db'):
            (folder / name).write_bytes(b'?')
        return folder

    def test_goes_on_after_failures(self, inferencer: FewShotInferencer, folder: Path, tmp_path: Path) -> None:
        results = []
        with pytest.raises(FailedQueries, match=r'2 of 7 queries(.|\n)*broken.png(.|\n)*empty.jpg') as info:
            for result in inferencer.iterate(folder, tmp_path / 'out'):
                results.append(result)
                assert Path(result['mask_path']).is_file()  # written when it comes
        assert len(results) == 5 and len({result['mask_path'] for result in results}) == 5
        listed = json.loads((tmp_path / 'out' / 'results.json').read_text(encoding='utf-8'))
        assert sorted(Path(entry['query']).name for entry in listed if 'error' in entry) == ['broken.png', 'empty.jpg']
        assert [failure['query'] for failure in info.value.failures] == [
            str(folder / 'broken.png'), str(folder / 'empty.jpg')]
        with pytest.raises(FailedQueries) as info:
            inferencer(folder)
        assert [result['query'] for result in info.value.results] == [result['query'] for result in results]

    def test_interruption_keeps_what_was_done(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        job = inferencer.iterate(root / 'ant' / 'images', tmp_path)
        next(job)
        with pytest.raises(KeyboardInterrupt):
            job.throw(KeyboardInterrupt)
        listed = json.loads((tmp_path / 'results.json').read_text())
        assert [Path(entry['query']).name for entry in listed] == ['0.jpg'] and Path(listed[0]['mask_path']).is_file()
        inferencer(root / 'ant' / 'images', out_dir=tmp_path)
        listed = json.loads((tmp_path / 'results.json').read_text())
        assert [Path(entry['mask_path']).name for entry in listed] == ['0.png', '1.png', '2.png']

    def test_missing_files(self, inferencer: FewShotInferencer, root: Path) -> None:
        good = str(root / 'ant' / 'images' / '0.jpg')
        with pytest.raises(FileNotFoundError, match='1 of 2 queries(.|\n)*nowhere.jpg') as info:
            inferencer(['nowhere.jpg', good])
        assert isinstance(info.value, FailedQueries) and [result['query'] for result in info.value.results] == [good]
        with pytest.raises(FileNotFoundError) as info:
            inferencer('nowhere.jpg')
        assert not isinstance(info.value, FailedQueries)

    def test_equally_named_pictures(self, inferencer: FewShotInferencer, root: Path, tmp_path: Path) -> None:
        queries = [str(root / name / 'images' / '0.jpg') for name in ('ant', 'bee')]
        both = [inferencer(query, out_dir=tmp_path) for query in queries]
        assert [Path(result['mask_path']).name for result in both] == ['0.png', '0_2.png']
        again = inferencer(queries[::-1], out_dir=tmp_path)
        assert [result['mask_path'] for result in again[::-1]] == [result['mask_path'] for result in both]
        listed = json.loads((tmp_path / 'results.json').read_text())
        assert {entry['query']: entry['mask_path'] for entry in listed} == {
            result['query']: result['mask_path'] for result in both} and len(listed) == 2
