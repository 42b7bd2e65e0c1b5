import pickle

import numpy as np
import pytest

from mmfss.utils.array_file import ArrayFile, write_arrays

ARRAYS = dict(
    names=np.array([b'a.jpg', b'bb.jpg']), sizes=np.arange(4, dtype=np.int32).reshape(2, 2),
    codes=np.empty(0, np.uint8), crowds=np.array([True, False, True]))


def write(path, **meta):
    write_arrays(path, ARRAYS, meta)
    return ArrayFile(path)


def test_arrays_come_back(tmp_path):
    arrays = write(tmp_path / 'a.mmfss', classes=['mug', 'Löffel'])
    assert arrays.meta == dict(classes=['mug', 'Löffel']) and set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype and type(arrays[name]) is np.ndarray


def test_nobody_can_change_them(tmp_path):
    with pytest.raises(ValueError, match='read-only'):
        write(tmp_path / 'a.mmfss')['sizes'][0, 0] = 1


def test_a_pickle_holds_the_path(tmp_path):
    path = tmp_path / 'a.mmfss'
    write_arrays(path, dict(codes=np.zeros(100_000, np.uint8)), dict(digest='1'))
    content = pickle.dumps(ArrayFile(path))
    assert len(content) < 1000 and pickle.loads(content)['codes'].shape == (100_000, )
    write_arrays(path, dict(codes=np.zeros(100_000, np.uint8)), dict(digest='2'))
    with pytest.raises(ValueError, match='was replaced while it was in use'):
        pickle.loads(content)


def test_a_replaced_file_leaves_readers_alone(tmp_path):
    arrays = write(tmp_path / 'a.mmfss')
    write_arrays(tmp_path / 'a.mmfss', dict(sizes=np.zeros((2, 2), np.int32)), {})
    np.testing.assert_array_equal(arrays['sizes'], ARRAYS['sizes'])


@pytest.mark.parametrize('content', [b'', b'{}', b'mmfss-arrays-1\n' + b'\xff' * 20])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / 'a.mmfss').write_bytes(content)
    with pytest.raises(ValueError):
        ArrayFile(tmp_path / 'a.mmfss')


def test_a_cut_off_file_is_refused(tmp_path):
    write(tmp_path / 'a.mmfss')
    content = (tmp_path / 'a.mmfss').read_bytes()
    (tmp_path / 'a.mmfss').write_bytes(content[:-1])
    with pytest.raises(ValueError, match='cut off'):
        ArrayFile(tmp_path / 'a.mmfss')
