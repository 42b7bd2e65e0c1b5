"""Image-level labels from masks, as a file that the dataset reads."""
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import PascalVOCDataset
from PIL import Image

from mmfss.commands.runs.dataset_converters.image_labels import convert
from mmfss.datasets import read_image_labels


def test_file(tmp_path: Path) -> None:
    for name, labels in dict(a=[0, 1, 255], b=[0, 20, 3], c=[0, 0, 255]).items():
        Image.fromarray(np.array([labels], np.uint8)).save(tmp_path / f'{name}.png')
    out = tmp_path / 'labels.csv'
    convert(Namespace(masks=tmp_path, out=out, dataset='PascalVOCDataset'))
    assert out.read_text() == 'image,labels\na,aeroplane\nb,bird;tvmonitor\nc,\n'
    assert read_image_labels(out, PascalVOCDataset.METAINFO['classes']) == dict(a=(1, ), b=(3, 20), c=())


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(dataset='NoDataset'), '--dataset NoDataset: there is no such dataset'), ({}, 'holds no masks')])
def test_bad_input(tmp_path: Path, changes: dict, message: str) -> None:
    arguments = dict(masks=tmp_path, out=tmp_path / 'a.csv', dataset='PascalVOCDataset')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert(Namespace(**{**arguments, **changes}))
