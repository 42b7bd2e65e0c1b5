import copy
import pickle

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmfss.engine.hooks.deferred_runtime_info_hook import DeferredHistory, note_scalar


def hubs(name):
    return MessageHub(f'deferred {name}'), MessageHub(f'plain {name}')


def test_histories_equal_those_of_mmengine():
    deferred, plain = hubs('equal')
    values = torch.linspace(0.1, 2, 7).unbind()
    for place, value in enumerate(values):
        note_scalar(deferred, 'train/loss', value)
        plain.update_scalar('train/loss', value)
        if place == 2:  # somebody reads in between
            assert deferred.get_scalar('train/loss').current() == plain.get_scalar('train/loss').current()
    for found, expected in zip(deferred.get_scalar('train/loss').data, plain.get_scalar('train/loss').data):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert deferred.get_scalar('train/loss').mean(3) == plain.get_scalar('train/loss').mean(3)


def test_nothing_is_fetched_before_it_is_read():
    """Of a tensor without content no value can be fetched."""
    history = DeferredHistory()
    history.defer(torch.empty((), device='meta'))
    assert len(history._pending) == 1
    hub, _ = hubs('meta')
    note_scalar(hub, 'train/loss', torch.empty((), device='meta'))
    assert len(hub.log_scalars['train/loss']._pending) == 1


def test_checkpoints_hold_plain_histories():
    deferred, plain = hubs('saved')
    for value in (torch.tensor(0.5), torch.tensor(0.25)):
        note_scalar(deferred, 'train/loss', value)
        plain.update_scalar('train/loss', value)
    saved = deferred.state_dict()['log_scalars']['train/loss']
    assert type(saved) is HistoryBuffer and type(copy.deepcopy(saved)) is HistoryBuffer
    loaded = pickle.loads(pickle.dumps(deferred.log_scalars['train/loss']))
    for history in (saved, loaded):
        for found, expected in zip(history.data, plain.get_scalar('train/loss').data):
            np.testing.assert_array_equal(found, expected)
    assert type(loaded) is HistoryBuffer


def test_a_resumed_history_is_continued():
    hub, _ = hubs('resumed')
    hub.update_scalar('train/loss', 1.5)
    note_scalar(hub, 'train/loss', torch.tensor(2.5))
    assert hub.get_scalar('train/loss').data[0].tolist() == [1.5, 2.5]


def test_the_longest_history_is_kept():
    history = DeferredHistory(max_length=3)
    for number in range(5):
        history.defer(torch.tensor(float(number)))
    assert history.data[0].tolist() == [2, 3, 4] and len(history.data[1]) == 3


def test_plain_numbers_are_noted_too():
    hub, _ = hubs('numbers')
    note_scalar(hub, 'train/loss', torch.tensor(2.))
    note_scalar(hub, 'train/loss', 3.)
    assert hub.get_scalar('train/loss').data[0].tolist() == [2, 3]
