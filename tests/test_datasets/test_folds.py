import pytest

from mmfss.datasets import COCO_CLASSES, VOC_CLASSES, fold_classes, make_folds
from mmfss.datasets.folds import resolve_classes


def test_pascal_and_coco_folds():
    pascal, coco = make_folds(20, 4), make_folds(80, 4, 'modulo')
    assert [VOC_CLASSES[class_id] for class_id in pascal[2]] == ['diningtable', 'dog', 'horse', 'motorbike', 'person']
    names = [COCO_CLASSES[class_id] for class_id in coco[3]]
    assert names[:4] == ['motorcycle', 'truck', 'stop sign', 'cat'] and names[-1] == 'toothbrush' and len(names) == 20
    for folds, number in ((pascal, 20), (coco, 80)):
        for fold in range(4):
            train, test = fold_classes(folds, fold, 'train'), fold_classes(folds, fold, 'test')
            assert sorted(train + test) == list(range(number)) and list(train) == sorted(train)
            assert fold_classes(folds, fold, 'val') == test


def test_uneven_and_single_folds():
    assert make_folds(7, 3) == [(0, 1, 2), (3, 4), (5, 6)]
    assert make_folds(7, 3, 'modulo') == [(0, 3, 6), (1, 4), (2, 5)]
    assert fold_classes([(1, 0), (2,)], None, 'train') == (0, 1, 2)
    with pytest.raises(ValueError, match='single fold'):
        fold_classes([(0, 1)], 0, 'train')


@pytest.mark.parametrize('fold', [4, -1, 'a', True])
def test_unknown_fold(fold):
    with pytest.raises(ValueError, match=r'Unknown fold .*; known: \[0, 1, 2, 3\]'):
        fold_classes(make_folds(8, 4), fold, 'test')


def test_unknown_split_scheme_and_number():
    with pytest.raises(ValueError, match="Unknown split 'trn'"):
        fold_classes(make_folds(8, 4), 0, 'trn')
    with pytest.raises(ValueError, match="known: 'contiguous', 'modulo'"):
        make_folds(8, 4, 'random')
    with pytest.raises(ValueError, match='num_folds must be between 1 and the number of classes 3'):
        make_folds(3, 4)


def test_classes_by_name_and_id():
    assert resolve_classes(['cat', 0], ('ant', 'bee', 'cat')) == (2, 0)
    for unknown in ('cow', 3, -1, 1.0):
        with pytest.raises(ValueError, match=r'Unknown class .*; known are the ids 0..2 and the names: ant, bee, cat'):
            resolve_classes([unknown], ('ant', 'bee', 'cat'))
    with pytest.raises(ValueError, match='twice'):
        resolve_classes(['cat', 2], ('ant', 'bee', 'cat'))


class TestClassesCalledByNumbers:

    CLASSES = ('1', '10', '2', '20')

    def test_a_name_wins(self):
        assert resolve_classes(['1', '10', '20'], self.CLASSES) == (0, 1, 3)
        assert resolve_classes(['id:1', 'id:3'], self.CLASSES) == (1, 3)
        assert resolve_classes(range(4), self.CLASSES) == (0, 1, 2, 3)
        # The name and the id say the same.
        assert resolve_classes([2, '1', 3], ('0', '1', '2', 'x')) == (2, 1, 3)

    def test_two_meanings(self):
        with pytest.raises(ValueError, match='Class 1 could be meant in two ways. Write \'1\', a string, .*"id:1" for '
                           'the id, which is the class "10"'):
            resolve_classes([1], self.CLASSES)
        with pytest.raises(ValueError, match='No class is called "3", .*"1", "10", "2", "20". .*"id:3".* "20"'):
            resolve_classes(['3'], self.CLASSES)
        for unknown in ('100', 4, 'id:4', 'id:', 'id:-1', '-1', '²', True, ''):
            with pytest.raises(ValueError, match='Unknown class .*; known are the ids 0..3'):
                resolve_classes([unknown], self.CLASSES)

    def test_words_on_a_command_line(self):
        assert resolve_classes(['2', 'ant'], ('ant', 'bee', 'cat')) == (2, 0)
        # One class called by a number is enough to make a number a name.
        with pytest.raises(ValueError, match='"id:2" for the id, which is the class "bee"'):
            resolve_classes(['2'], ('7', 'ant', 'bee'))
        with pytest.raises(ValueError, match='twice'):
            resolve_classes(['1', 'id:0'], self.CLASSES)


def test_class_names_are_compared_as_they_look():
    assert resolve_classes(['cafe\u0301', 'caf\xe9 noir'], ('bee', 'caf\xe9', 'cafe\u0301 noir')) == (1, 2)
    with pytest.raises(ValueError, match=r'names: \\ufeffant'):
        resolve_classes(['ant'], ('\ufeffant', ))
