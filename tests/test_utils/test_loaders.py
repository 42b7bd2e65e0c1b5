from mmengine.config import Config

from mmfss.utils import loaders
from mmfss.utils.config import load_config


def test_six_workers_or_the_cores_of_the_process(monkeypatch):
    for cores, ranks, expected in ((64, 8, 6), (16, 8, 2), (4, 1, 4), (2, 8, 1)):
        monkeypatch.setattr(loaders, 'granted_cores', lambda cores=cores: cores)
        assert loaders.default_workers(dict(LOCAL_WORLD_SIZE=str(ranks))) == expected
    assert loaders.default_workers(dict(LOCAL_WORLD_SIZE='')) == 2


def test_what_a_config_says_stays(monkeypatch):
    monkeypatch.setattr(loaders, 'default_workers', lambda: 5)
    data = dict(dataset=dict(type='A'))
    cfg = Config(dict(train_dataloader=dict(data, num_workers=3), val_dataloader=dict(data, num_workers=0),
                      test_dataloader=data))
    loaders.fill_loaders(cfg)
    assert [cfg[name].num_workers for name in loaders.LOADERS] == [3, 0, 5]
    assert [cfg[name].persistent_workers for name in loaders.LOADERS] == [True, False, True]


def test_no_worker_by_option():
    cfg = load_config('configs/dcama/resnet50_pascal5i_fold0.py', {'train_dataloader.num_workers': 0})
    assert not cfg.train_dataloader.persistent_workers and cfg.val_dataloader.num_workers >= 1
