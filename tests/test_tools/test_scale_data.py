"""Datasets for measurements, at a hundredth of their size."""
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmfss.datasets import CocoInstanceIndex, FSS1000Index, ImageFolderIndex, PascalVOCIndex
from tests.tiny.tools import load_tool


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_tool('make_scale_data')


def test_data_can_be_read(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, 'FOLDERS', dict(own=(160, 200, 5)))
    monkeypatch.setattr(tool, 'save_pictures', lambda folder, count, side, quality, save=tool.save_pictures:
                        save(folder, min(count, 3), min(side, 160), quality))
    monkeypatch.setattr(sys, 'argv', ['make', str(tmp_path), *'--parts coco voc fss own --fraction 0.002'.split()])
    tool.main()
    coco = CocoInstanceIndex(str(tmp_path / 'coco2014'), 'annotations/instances_val2014.json', 'val2014')
    content = json.loads((tmp_path / 'coco2014/annotations/instances_val2014.json').read_text())
    assert len(content['images']) == len(coco.image_names()) == 81 and len(content['annotations']) == 584
    for index in (coco, PascalVOCIndex(str(tmp_path / 'VOCdevkit/VOC2012')), FSS1000Index(str(tmp_path / 'FSS-1000')),
                  ImageFolderIndex(str(tmp_path / 'own'))):
        lists = index.build_lists()
        assert len(lists) >= 4
        index.check_files(lists, 'built')
