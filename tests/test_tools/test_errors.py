"""Errors in files that a worker of the data loader meets."""
import io
import os
import sys
import warnings
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

import mmfss
from mmfss.commands.errors import plain_errors, worker_message
from mmfss.datasets import ImageFolderDataset
from tests.tiny.data import PIPELINE, write_class_folders


@pytest.mark.parametrize('name, kind', [('images/1.jpg', 'no image|not an image'), ('masks/1.png', 'masks/1.png')])
def test_message_of_a_worker(tmp_path: Path, capsys: pytest.CaptureFixture, name: str, kind: str) -> None:
    root = write_class_folders(tmp_path, num_images=2)
    dataset = ImageFolderDataset(str(root), PIPELINE, fold=None, num_folds=1, num_episodes=8)
    for folder in root.iterdir():
        (folder / name).write_bytes(b'no picture')
    with pytest.raises(SystemExit) as error, plain_errors():
        list(DataLoader(dataset, num_workers=1, collate_fn=list))
    said = capsys.readouterr().err
    assert error.value.code == 1 and said.startswith('error: ') and said.count('\n') == 1
    assert name in said and 'check_dataset.py' in said and '--resume' in said and 'Traceback' not in said


def test_other_messages_stay() -> None:
    assert worker_message(ValueError('a\nb: c')) == 'a\nb: c'
    text = ('Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
            '  File "a.py"\nOSError: first\n\nThe above exception was the direct cause:\n\n'
            'ValueError: 2 masks:\nb: c\nd\n')
    assert worker_message(ValueError(text)) == '2 masks:\nb: c\nd'


@pytest.mark.parametrize('encoding', ['utf-8', 'ascii', 'latin-1'])
def test_names_that_the_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors='strict') for _ in range(2)]
    monkeypatch.setattr(sys, 'stdout', streams[0])
    monkeypatch.setattr(sys, 'stderr', streams[1])
    with pytest.raises(SystemExit), plain_errors():
        print(os.fsdecode(b'caf\xe9'))
        raise ValueError(os.fsdecode(b'bad \xe9') + '\u4e2d')
    last = '\u4e2d' if encoding == 'utf-8' else '\\u4e2d'
    for stream, text in zip(streams, ('caf\\udce9\n', f'error: bad \\udce9{last}\n')):
        stream.flush()
        assert stream.buffer.getvalue().decode(encoding) == text


def test_warnings_are_a_line() -> None:
    """Those of this package, in a command; others say where they come from."""
    file, usual = str(Path(mmfss.__file__).parent / 'apis/a.py'), warnings.formatwarning
    with plain_errors():
        assert warnings.formatwarning('look at "a.png"', UserWarning, file, 7) == 'warning: look at "a.png"\n'
        assert warnings.formatwarning('old', DeprecationWarning, file, 7) == f'{file}:7: DeprecationWarning: old\n'
        assert '/torch.py:9: UserWarning: theirs' in warnings.formatwarning('theirs', UserWarning, '/torch.py', 9)
    assert warnings.formatwarning is usual
