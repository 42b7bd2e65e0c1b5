import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from torch import Tensor

from mmfss.evaluation import EpisodicIoU
from mmfss.registry import METRICS
from mmfss.structures import EpisodeDataSample

META = dict(classes=('ant', 'bee', 'cat', 'dog'), fold_class_ids=[1, 3], lists='built from annotations')


def episode(class_ids: list[int], pred: Tensor, target: Tensor, **fields: Tensor) -> EpisodeDataSample:
    sample = EpisodeDataSample(metainfo=dict(class_ids=class_ids))
    sample.pred_sem_seg = PixelData(data=pred[None])
    sample.gt_sem_seg = PixelData(data=target[None])
    for name, value in fields.items():
        setattr(sample, name, PixelData(data=value))
    return sample


def evaluate(samples: list[EpisodeDataSample], **kwargs) -> dict:
    evaluator = Evaluator(EpisodicIoU(**kwargs))
    evaluator.dataset_meta = META
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


def random_episodes(number: int, ways: int = 1) -> list[EpisodeDataSample]:
    generator = torch.Generator().manual_seed(0)
    ids = [[1, 3][:ways] if i % 3 else [3, 1][:ways] for i in range(number)]
    return [
        episode(class_ids, *torch.randint(0, ways + 1, (2, 8, 8), generator=generator)) for class_ids in ids
    ]


class TestEpisodicIoU:

    def test_perfect(self) -> None:
        target = torch.tensor([[0, 1], [255, 1]])
        metrics = evaluate([episode([1], torch.tensor([[0, 1], [0, 1]]), target),
                            episode([3], torch.tensor([[0, 1], [1, 1]]), target)])
        assert metrics['mIoU'] == metrics['FB-IoU'] == 100
        assert metrics['mIoU_interval'] == metrics['FB-IoU_interval'] == [100, 100]
        assert metrics['class_IoU'] == dict(bee=100, dog=100)
        assert metrics['episodes'] == 2

    @pytest.mark.parametrize('ways', [1, 2])
    def test_one_entry_per_episode(self, ways: int) -> None:
        metric = METRICS.build(dict(type='EpisodicIoU'))
        samples = [sample.to_dict() for sample in random_episodes(5, ways)]
        metric.process({}, samples[:2])
        metric.process({}, samples[2:])
        assert len(metric.results) == 5
        for entry in metric.results:
            counts = {name: field for name, field in entry.items() if name not in ('query', 'supports', 'presence')}
            values = [value for field in counts.values() for value in (field if isinstance(field, list) else [field])]
            assert all(type(value) is int for value in values)

    def test_additive(self) -> None:
        samples = [sample.to_dict() for sample in random_episodes(7)]
        parts = [EpisodicIoU() for _ in range(3)]
        for rank, part in enumerate(parts):
            part.process({}, samples[rank::3])
        whole = EpisodicIoU()
        whole.process({}, samples)
        parts[0].dataset_meta = whole.dataset_meta = META
        merged = parts[0].compute_metrics(parts[2].results + parts[0].results + parts[1].results)
        alone = whole.compute_metrics(whole.results)
        assert merged['mIoU'] == alone['mIoU'] and merged['class_IoU'] == alone['class_IoU']

    def test_absent_class_is_zero_and_named(self, caplog: pytest.LogCaptureFixture) -> None:
        target = torch.tensor([[0, 1]])
        metric = EpisodicIoU(num_replicates=0)
        metric.dataset_meta = META
        metric.process({}, [episode([1], target, target).to_dict()])
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            metrics = metric.compute_metrics(metric.results)
        finally:
            logger.removeHandler(caplog.handler)
        assert metrics['mIoU'] == 50 and metrics['class_IoU']['dog'] == 0 and 'mIoU_interval' not in metrics
        assert 'No episode asks for dog' in caplog.text
        assert 'built from annotations' in caplog.text and '| bee' in caplog.text

    def test_original_size(self) -> None:
        logits = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1))
        expected = F.interpolate(logits[None], (9, 6), mode='bilinear', align_corners=True)[0].argmax(0)
        zeros = torch.zeros(4, 4, dtype=torch.long)
        samples = [
            episode([class_id], zeros, zeros, seg_logits=logits, gt_sem_seg_ori=expected[None]) for class_id in (1, 3)
        ]
        assert evaluate(samples, size='original')['mIoU'] == 100
        assert evaluate(samples)['mIoU'] == 0

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="'network' or 'original'"):
            EpisodicIoU(size='full')
        with pytest.raises(ValueError, match='num_replicates'):
            EpisodicIoU(num_replicates=-1)
        with pytest.raises(KeyError, match='gt_sem_seg_ori'):
            evaluate(random_episodes(1), size='original')
        with pytest.raises(KeyError, match='fold_class_ids'):
            EpisodicIoU().compute_metrics([])
