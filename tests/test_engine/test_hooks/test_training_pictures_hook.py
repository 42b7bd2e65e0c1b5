"""Checkpoints describe the pictures of the training, also across interruptions."""
from types import SimpleNamespace
from typing import Any

import torch

from mmfss.datasets.picture_statistics import picture_statistics
from mmfss.engine.hooks import TrainingPicturesHook


def runner(resume: bool = False) -> Any:
    return SimpleNamespace(_resume=resume, train_dataloader=SimpleNamespace(dataset=[]))


def batches(number: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [dict(inputs=dict(query=list(torch.rand(2, 3, 8, 8, generator=generator) * 255))) for _ in range(number)]


def record(hook: TrainingPicturesHook) -> dict[str, Any]:
    checkpoint: dict[str, Any] = dict(meta={})
    hook.before_save_checkpoint(runner(), checkpoint)
    return checkpoint


def test_first_pictures_of_the_training() -> None:
    hook, data = TrainingPicturesHook(number=5), batches(4)
    for index, batch in enumerate(data):
        hook.before_train_iter(runner(), index, batch)
    trained_on = record(hook)['meta']['trained_on']
    pictures = [picture for batch in data for picture in batch['inputs']['query']]
    torch.testing.assert_close(trained_on['statistics'], torch.stack(list(map(picture_statistics, pictures[:5]))))
    assert trained_on['dataset'] == 'list'


def test_resumed_and_started_from_other_weights() -> None:
    data = batches(4)
    first, whole = TrainingPicturesHook(number=7), TrainingPicturesHook(number=7)
    for index, batch in enumerate(data):
        whole.before_train_iter(runner(), index, batch)
        if index < 2:
            first.before_train_iter(runner(), index, batch)
    resumed, fresh = TrainingPicturesHook(number=7), TrainingPicturesHook(number=7)
    resumed.after_load_checkpoint(runner(resume=True), record(first))
    fresh.after_load_checkpoint(runner(), record(first))
    for index in (2, 3):
        resumed.before_train_iter(runner(), index, data[index])
    assert torch.equal(record(resumed)['meta']['trained_on']['statistics'],
                       record(whole)['meta']['trained_on']['statistics'])
    assert fresh.statistics == [] and record(fresh) == dict(meta={})


def test_data_without_pictures() -> None:
    hook = TrainingPicturesHook()
    for batch in (None, [1], dict(inputs=[torch.zeros(4)]), dict(inputs=dict(points=torch.zeros(1)))):
        hook.before_train_iter(runner(), 0, batch)
    assert record(hook) == dict(meta={})
