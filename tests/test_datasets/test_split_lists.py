import gzip
import json
import os
import pickle

import pytest

from mmfss.datasets.split_lists import (
    coco_digest,
    is_official,
    read_coco_list,
    read_fss_list,
    read_pascal_list,
    read_stem_list,
    text_digest,
    write_coco_list,
    write_fss_list,
    write_pascal_list,
)


def test_pascal_text(tmp_path):
    path = tmp_path / 'fold0.txt'
    path.write_bytes(b'2007_000033__01\r\n2007_000061__04\r\n')
    assert read_pascal_list(str(path)) == [(0, '2007_000033'), (3, '2007_000061')]
    digest = text_digest(str(path))
    write_pascal_list([(0, '2007_000033'), (3, '2007_000061')], path)
    assert path.read_bytes() == b'2007_000033__01\n2007_000061__04\n'
    assert text_digest(str(path)) == digest  # line ends do not matter


@pytest.mark.parametrize('line', ['2007_000033', '2007_000033__21', '2007_000033__00', '2007_000033__x'])
def test_pascal_line_of_another_form(tmp_path, line):
    path = tmp_path / 'fold0.txt'
    path.write_text(f'2007_000033__01\n{line}\n')
    with pytest.raises(ValueError, match=r'fold0.txt, line 2: expected "<image>__<class 01..20>"'):
        read_pascal_list(str(path))


def test_fss_text(tmp_path):
    path = tmp_path / 'trn.txt'
    path.write_bytes(b'bee\r\nant\r\n')
    assert read_fss_list(str(path)) == ['bee', 'ant']
    write_fss_list(['x', 'x'], path)
    with pytest.raises(ValueError, match='trn.txt names the category "x" twice'):
        read_fss_list(str(path))


EDITORS = [b'\xef\xbb\xbfa__01\nb__02\n', b'\xef\xbb\xbfa__01\r\nb__02\r\n', 'a__01\r\nb__02\r\n'.encode('utf-16')]


@pytest.mark.parametrize('content', EDITORS)
def test_lists_saved_by_an_editor(tmp_path, content):
    plain, saved = tmp_path / 'plain.txt', tmp_path / 'saved.txt'
    plain.write_bytes(b'a__01\nb__02\n')
    saved.write_bytes(content)
    assert read_pascal_list(str(saved)) == [(0, 'a'), (1, 'b')]
    assert read_fss_list(str(saved)) == read_stem_list(str(saved), ()) == ['a__01', 'b__02']
    assert text_digest(str(saved)) == text_digest(str(plain))  # so a published list is recognised


def test_json_list_with_a_byte_order_mark(tmp_path):
    (tmp_path / 'val.json').write_bytes(b'\xef\xbb\xbf{"classes": {"1": ["cafe\xcc\x81.jpg"]}}')
    assert read_coco_list(str(tmp_path / 'val.json')) == {1: ['caf\xe9.jpg']}


@pytest.mark.parametrize('line', [
    'JPEGImages/a.jpg SegmentationClassAug/a.png', '/JPEGImages/a.jpg', 'a.jpg', 'a.PNG', 'a  1', 'a\t-1', 'x\\a'])
def test_lines_that_are_no_stems(tmp_path, line):
    path = tmp_path / 'val.txt'
    path.write_text(f'a\n\n{line}\n')
    with pytest.raises(ValueError, match=r'val.txt, line 3: a line must be the stem of one image, .* got "'):
        read_stem_list(str(path), {'a'})
    # What exists is a stem whatever it looks like.
    assert read_stem_list(str(path), {'a', line}) == ['a', line]


def test_lines_are_shown_with_what_cannot_be_seen(tmp_path):
    path = tmp_path / 'fold0.txt'
    path.write_text('a\u200b\xa0x\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r'got "a\\u200b\\xa0x"'):
        read_pascal_list(str(path))
    path.write_text('ant/1.jpg\n')
    with pytest.raises(ValueError, match='line 1: a line must be the name of a category folder, got "ant/1.jpg"'):
        read_fss_list(str(path))


def test_names_that_a_list_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match=r'fold0.txt cannot name "caf\\udce9__01"'):
        write_pascal_list([(0, os.fsdecode(b'caf\xe9'))], tmp_path / 'fold0.txt')
    assert not os.listdir(tmp_path) and coco_digest({0: [os.fsdecode(b'caf\xe9')]})


@pytest.mark.parametrize('suffix', ['pkl', 'json'])
def test_coco_round_trip_keeps_the_order(tmp_path, suffix):
    lists = {0: ['b.jpg', 'a.jpg'], 1: []}
    path = str(tmp_path / f'fold0.{suffix}')
    write_coco_list(lists, path)
    assert read_coco_list(path) == lists
    assert coco_digest(read_coco_list(path)) == coco_digest(lists) != coco_digest({0: ['a.jpg', 'b.jpg']})


def test_coco_ids_with_a_name_format(tmp_path):
    path = tmp_path / 'val.json.gz'
    path.write_bytes(gzip.compress(json.dumps(dict(name_format='val2014/%03d.jpg', classes={'4': [7, 3]})).encode()))
    assert read_coco_list(str(path)) == {4: ['val2014/007.jpg', 'val2014/003.jpg']}


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_malicious_pickle_is_refused_and_does_nothing(tmp_path, protocol):
    path, trace = tmp_path / 'fold0.pkl', tmp_path / 'trace'
    path.write_bytes(pickle.dumps({0: ['a.jpg'], 1: Malicious(str(trace))}, protocol=protocol))
    with pytest.raises(ValueError, match=r'fold0.pkl is refused: it asks for .*mkdir'):
        read_coco_list(str(path))
    assert not trace.exists()


@pytest.mark.parametrize('content', [['a'], {'a': ['b']}, {0: 'a.jpg'}, {0: [3]}, {True: ['a']}])
def test_pickle_of_another_form(tmp_path, content):
    path = tmp_path / 'fold0.pkl'
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match='fold0.pkl must be a dict from class id'):
        read_coco_list(str(path))


@pytest.mark.parametrize(
    'name, content',
    [('a.pkl', b'\x80'), ('a.json', b'[1]'), ('a.json', b'{"classes": {"x": []}}'), ('a.json.gz', b'no gzip')],
)
def test_damaged_lists(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_coco_list(str(tmp_path / name))


def test_missing_list_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'fold9.txt" does not exist.*tools/dataset_converters'):
        read_pascal_list(str(tmp_path / 'fold9.txt'))


def test_a_list_is_official_for_its_part_only():
    digest = '748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df'
    assert is_official('pascal', 'val/fold0', digest)
    assert not is_official('pascal', 'val/fold1', digest) and not is_official('pascal', 'val/fold9', digest)
