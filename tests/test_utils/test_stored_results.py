import os
from pathlib import Path

from mmengine.config import Config

from mmfss.utils.stored_results import fingerprint, load_result, save_result


class TestStoredResults:

    def test_fingerprint(self, tmp_path: Path) -> None:
        checkpoint = tmp_path / 'a.pth'
        checkpoint.write_bytes(b'1')
        cfg = Config(dict(model=dict(type='X'), test_dataloader=dict(dataset=dict(num_shots=1)), work_dir='a'))
        key = fingerprint(cfg, checkpoint, 'model')
        path = tmp_path / 'result.json'
        save_result(path, dict(metrics=dict(mIoU=1.5)), key)
        assert load_result(path, key)['metrics'] == dict(mIoU=1.5)
        cfg.work_dir = 'b'
        assert fingerprint(cfg, checkpoint, 'model') == key
        assert load_result(path, fingerprint(cfg, checkpoint, 'copied mask')) is None
        cfg.test_dataloader.dataset.num_shots = 5
        assert load_result(path, fingerprint(cfg, checkpoint, 'model')) is None
        cfg.test_dataloader.dataset.num_shots = 1
        checkpoint.write_bytes(b'2')
        os.utime(checkpoint, (5, 5))
        assert load_result(path, fingerprint(cfg, checkpoint, 'model')) is None

    def test_missing_or_broken(self, tmp_path: Path) -> None:
        assert load_result(tmp_path / 'none.json', {}) is None
        (tmp_path / 'broken.json').write_text('{"fing')
        assert load_result(tmp_path / 'broken.json', {}) is None
