"""Part annotations in their real formats, written as they are published."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmfss.datasets.part_annotations import PASCAL_PARTS, read_panoptic_parts, read_part_spec, read_pascal_part
from mmfss.datasets.transforms import LoadPartAnnotations, PackPartSegInputs
from mmfss.registry import TRANSFORMS

SPEC = """
scene_class2part_classes:
  aeroplane: [body, engine, wheel]
  boat: []
  car: [door, wheel]
countable_pids_groupings:
  aeroplane: {engine: [11, 12, 13], wheel: [21, 22]}
  car: {wheel: [21, 22, 23]}
"""


def write_tif(path: Path, ids: list) -> Path:
    Image.fromarray(np.array(ids, np.int32)).save(path)
    return path


def test_panoptic_parts(tmp_path: Path) -> None:
    """Class; class and instance; class, instance and part."""
    path = write_tif(tmp_path / 'a.tif', [[7, 24, 24001], [2400103, 2600005, 2400100]])
    found = read_panoptic_parts(path)
    assert found.classes.tolist() == [[7, 24, 24], [24, 26, 24]]
    assert found.parts.tolist() == [[0, 0, 0], [3, 5, 0]]


def test_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmfss.datasets.images.MAX_PIXELS', 5)
    with pytest.raises(ValueError, match='a.tif" cannot be read as an image: .* 3 x 2 pixels, more than the limit'):
        read_panoptic_parts(write_tif(tmp_path / 'a.tif', [[7, 24, 24], [7, 7, 7]]))


def test_counted_parts_are_merged(tmp_path: Path) -> None:
    (tmp_path / 'spec.yaml').write_text(SPEC)
    spec = read_part_spec(tmp_path / 'spec.yaml')
    path = write_tif(tmp_path / 'a.tif', [[100101, 100112, 100113, 100122], [300001, 300023, 30002, 25]])
    assert read_panoptic_parts(path, spec).parts.tolist() == [[1, 2, 2, 3], [1, 2, 0, 0]]
    path = write_tif(tmp_path / 'b.tif', [[100130, 7]])
    with pytest.raises(ValueError, match='b.tif" has part 30 of class 1, which is not in the specification'):
        read_panoptic_parts(path, spec)


def matlab_object(class_ind: int, mask: np.ndarray, parts: dict[str, np.ndarray]) -> dict:
    pieces = np.empty(len(parts), object)
    for place, (name, piece) in enumerate(parts.items()):
        pieces[place] = dict(part_name=name, mask=piece.astype(np.uint8))
    return dict(class_ind=class_ind, mask=mask.astype(np.uint8), parts=pieces)


def write_mat(path: Path, objects: list[dict]) -> Path:
    content = np.empty(len(objects), object)
    content[:] = objects
    savemat(path, dict(anno=dict(imname=path.stem, objects=content)))
    return path


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    rows, cols = np.mgrid[:6, :8]
    plane, person = rows < 3, rows >= 3
    return write_mat(tmp_path / '2008_000001.mat', [
        matlab_object(1, plane, {'body': plane & (cols < 4), 'engine_2': plane & (cols == 6)}),
        matlab_object(15, person, {'head': person & (cols < 2), 'leye': person & (rows == 3) & (cols == 0)}),
        matlab_object(4, rows < 0, {})])


def test_pascal_part(mat: Path) -> None:
    found = read_pascal_part(mat)
    assert found.classes[0, 0] == 1 and found.classes[5, 7] == 15
    assert PASCAL_PARTS[1][found.parts[0, 6] - 1] == 'engine_' and found.parts[0, 0] == 1 and found.parts[0, 7] == 0
    assert found.parts[3, 0] == 2 and found.parts[4, 0] == 1  # The eye lies on the head.


def test_parts_of_the_classes() -> None:
    assert len(PASCAL_PARTS[15]) == 24 == max(len(parts) for parts in PASCAL_PARTS.values())
    assert set(range(1, 21)) - set(PASCAL_PARTS) == {4, 9, 11, 18}
    assert all(len(set(parts)) == len(parts) for parts in PASCAL_PARTS.values())


@pytest.mark.parametrize('content', [b'', b'not an annotation', b'MATLAB 5.0 MAT-file' + bytes(300)])
def test_corrupt_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'broken.tif'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='broken.tif'):
        read_panoptic_parts(path)
    with pytest.raises(ValueError, match='broken.tif" is not a file of Pascal-Part'):
        read_pascal_part(path)
    with pytest.raises(ValueError, match='broken.tif" cannot be used'):
        read_part_spec(path)


def test_other_contents(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'rgb.tif')
    with pytest.raises(ValueError, match='rgb.tif" is not a map of ids'):
        read_panoptic_parts(tmp_path / 'rgb.tif')
    mask = np.ones((2, 2), bool)
    with pytest.raises(ValueError, match='part "horn" of class 1, which has body, stern'):
        read_pascal_part(write_mat(tmp_path / 'x.mat', [matlab_object(1, mask, {'horn': mask})]))
    with pytest.raises(FileNotFoundError, match='missing.mat" does not exist'):
        read_pascal_part(tmp_path / 'missing.mat')


class TestTransform:

    def results(self, name: str, size: tuple[int, int] = (2, 3)) -> dict:
        labels = np.zeros(size, np.uint8)
        return dict(img_path=f'root/leftImg8bit/val/bonn/{name}', img=np.zeros((*size, 3), np.uint8),
                    gt_seg_map=labels, seg_fields=['gt_seg_map'], img_shape=size, ori_shape=size)

    def transform(self, tmp_path: Path) -> LoadPartAnnotations:
        return LoadPartAnnotations('panoptic_parts', str(tmp_path), '_leftImg8bit.png', '_gtFinePanopticParts.tif',
                                   image_dir='root/leftImg8bit/val')

    def test_cityscapes(self, tmp_path: Path) -> None:
        (tmp_path / 'bonn').mkdir()
        write_tif(tmp_path / 'bonn/a_gtFinePanopticParts.tif', [[2400101, 2400102, 7], [0, 0, 0]])
        packed = PackPartSegInputs()(self.transform(tmp_path)(self.results('a_leftImg8bit.png')))
        assert packed['data_samples'].gt_part_seg.data.tolist() == [[[1, 2, 0], [0, 0, 0]]]

    def test_later_transforms_change_parts_as_labels(self, tmp_path: Path) -> None:
        (tmp_path / 'bonn').mkdir()
        write_tif(tmp_path / 'bonn/a_gtFinePanopticParts.tif', [[2400101, 2400102, 7], [0, 0, 0]])
        loaded = self.transform(tmp_path)(self.results('a_leftImg8bit.png'))
        flipped = TRANSFORMS.build(dict(type='mmseg.RandomFlip', prob=1.))(loaded)
        assert flipped['gt_part_map'].tolist() == [[0, 2, 1], [0, 0, 0]]

    def test_image_without_annotation(self, tmp_path: Path) -> None:
        packed = PackPartSegInputs()(self.transform(tmp_path)(self.results('b_leftImg8bit.png')))
        assert 'gt_part_seg' not in packed['data_samples']

    def test_errors(self, tmp_path: Path) -> None:
        (tmp_path / 'bonn').mkdir()
        write_tif(tmp_path / 'bonn/a_gtFinePanopticParts.tif', [[1, 2, 3]])
        with pytest.raises(ValueError, match=r'size \(1, 3\) .H, W., the labels have \(2, 3\)'):
            self.transform(tmp_path)(self.results('a_leftImg8bit.png'))
        with pytest.raises(ValueError, match='does not end with "_leftImg8bit.png"'):
            self.transform(tmp_path)(self.results('a.png'))
        with pytest.raises(ValueError, match="kind must be one of .*'pascal_part'"):
            LoadPartAnnotations('coco', str(tmp_path))
