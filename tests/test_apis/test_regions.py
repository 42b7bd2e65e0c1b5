from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfss.apis.regions import connected_part, query_regions, to_network_size

LABELS = np.zeros((20, 30), dtype=np.uint8)
LABELS[2:8, 2:8] = 1
LABELS[8:12, 8:12] = 1  # touches the first by a corner
LABELS[2:8, 20:26] = 1
LABELS[14:18, 20:26] = 2


def test_prediction_is_left_to_the_network_size() -> None:
    assert query_regions('prediction', LABELS, 2) is None


def test_component_belongs_to_its_class_alone() -> None:
    regions = query_regions('component:3,3', LABELS, 2)
    assert regions.shape == (2, 20, 30) and regions[0].sum() == 36 + 16 and not regions[1].any()
    assert not regions[0, :, 20:].any()
    assert query_regions('component:21,15', LABELS, 2)[1].sum() == 24


def test_box_polygon_and_all() -> None:
    box = query_regions('box:5,2,9,4', LABELS, 2)
    assert box[0].sum() == 4 * 2 and box[0, 2, 5] and np.array_equal(box[0], box[1])
    assert query_regions('all', LABELS, 2).all()
    triangle = query_regions('polygon:0,0,10,0,0,10', LABELS, 1)[0]
    assert triangle[0, 0] and triangle[5, 5] and not triangle[6, 6]


def test_mask_file_and_arrays(tmp_path: Path) -> None:
    mask = LABELS == 2
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / 'region.png')
    assert np.array_equal(query_regions(tmp_path / 'region.png', LABELS, 1)[0], mask)
    of_classes = np.stack([LABELS == 1, LABELS == 2])
    assert np.array_equal(query_regions(of_classes, LABELS, 2), of_classes)


@pytest.mark.parametrize('region, message', [
    ('component:15,1', 'predicted as background'), ('component:40,1', 'lies outside of the query'),
    ('box:1,2,3', 'is not one of prediction'), ('box:5,5,5,9', 'is empty'), ('polygon:1,2,3,4', 'three corners'),
    ('box:a,b,c,d', 'is not one of'), ('ground', 'neither a file nor'), (np.ones((3, 3)), 'has size'),
    (np.zeros((20, 30)), 'The region is empty'), (7, 'got a int'), ('box:0,0,nan,5', 'is not one of')])
def test_wrong_regions_are_explained(region: object, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        query_regions(region, LABELS, 2)


def test_a_small_region_survives_at_network_size() -> None:
    region = np.zeros((1, 64, 64), dtype=bool)
    region[0, 10, 10] = True
    assert to_network_size(region, (8, 8)).sum() == 1
    half = np.zeros((1, 64, 64), dtype=bool)
    half[0, :32] = True
    assert np.array_equal(to_network_size(half, (8, 8))[0].numpy(), np.arange(8)[:, None].repeat(8, 1) < 4)


def test_connected_part_of_background_is_empty() -> None:
    assert not connected_part(LABELS == 1, 0, 0).any()
