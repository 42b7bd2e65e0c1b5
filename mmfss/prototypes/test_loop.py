"""Test loop that evaluates prototypes instead of predictions."""
from typing import Any, Optional, Sequence

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.runner import TestLoop
from torch import Tensor, nn

from mmfss.evaluation.prototypes import PrototypeSample
from mmfss.models import PrototypeHead
from mmfss.models.layers.prototypes import joined_similarities
from mmfss.registry import LOOPS
from mmfss.utils.unwrap import unwrap
from .embedding import prototype_head


@LOOPS.register_module()
class PrototypeTestLoop(TestLoop):
    """Compute the prototype maps of every test image, and evaluate them with metrics of prototypes.

    The maps of a model of stage 1 and of stage 2 are the same; with stage 2, prototypes that no group uses are marked,
    and groups can be evaluated. Noise for stability is drawn from the seed and the image's index: it depends neither on
    batches nor on processes.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Test images with labels and, for metrics of parts, ``gt_part_seg``; with an
            unshuffled ``DefaultSampler``.
        evaluator (Evaluator | dict | list): Metrics of :mod:`mmfss.evaluation.prototypes`.
        noise_std (float): Standard deviation of the noise that is added to the normalized image.
        seed (int): Of the noise.
        **kwargs: See MMEngine's ``TestLoop``.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, noise_std: float = 0.2, seed: int = 0,
                 **kwargs: Any) -> None:
        super().__init__(runner, dataloader, evaluator, **kwargs)
        self.noise_std, self.seed = noise_std, seed
        self._needs_noise = any(getattr(metric, 'needs_noise', False) for metric in self.evaluator.metrics)

    def run(self) -> dict[str, float]:
        """Evaluate; metrics of the model itself observe it first.

        Returns:
            dict[str, float]: The scores.
        """
        model = unwrap(self.runner.model)
        for metric in self.evaluator.metrics:
            if hasattr(metric, 'observe'):
                metric.observe(prototype_head(model))
        return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Evaluate a batch.

        Args:
            idx (int): Number of the batch in this process.
            data_batch (Sequence[dict]): The batch.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        model = unwrap(self.runner.model)
        rank, world_size = get_dist_info()
        first = idx * self.dataloader.batch_size
        data = model.data_preprocessor(data_batch, False)
        indices = [((first + i) * world_size + rank) % len(self.dataloader.dataset) for i in range(len(data['inputs']))]
        samples = self.measure(model, data['inputs'], data['data_samples'], indices)
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=samples)

    def measure(self, model: nn.Module, images: Tensor, data_samples: Sequence[Any],
                indices: Sequence[int]) -> list[PrototypeSample]:
        """Compute the prototype maps of some images.

        Args:
            model (nn.Module): A segmentor with a prototype head.
            images (Tensor): Normalized images, shape (B, 3, H, W).
            data_samples (Sequence[SegDataSample]): Their annotations.
            indices (Sequence[int]): Their places in the dataset.

        Returns:
            list[PrototypeSample]: One for each image.
        """
        head = prototype_head(model)
        distances = head.distances(head.features(model.extract_feat(images)))
        similarities = self._similarities(head, distances)
        # The same under noise, for stability
        noisy = None
        if self._needs_noise:
            disturbed = images + torch.stack([self._noise(image, index) for image, index in zip(images, indices)])
            noisy = self._similarities(head, head.distances(head.features(model.extract_feat(disturbed))))
        # Groups of stage 2
        grouped = bool(head.num_groups)
        groups = head.group_activations(distances).cpu().numpy() if grouped else None
        return [
            PrototypeSample(
                index, self._labels(head, sample), self._parts(sample), similarities[i],
                None if noisy is None else noisy[i], None if groups is None else groups[i],
                head.proto_class.cpu().numpy(), head.used_prototypes.cpu().numpy(),
                head.group_class.cpu().numpy() if grouped else None)
            for i, (sample, index) in enumerate(zip(data_samples, indices))
        ]

    def _noise(self, image: Tensor, index: int) -> Tensor:
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        return (self.noise_std * torch.randn(image.shape, generator=generator)).to(image)

    @staticmethod
    def _similarities(head: PrototypeHead, distances: Sequence[Tensor]) -> np.ndarray:
        return joined_similarities(distances, head.epsilon).cpu().numpy()

    @staticmethod
    def _labels(head: PrototypeHead, sample: Any) -> np.ndarray:
        labels = sample.gt_sem_seg.data[0].long()
        return labels.masked_fill((labels == head.ignore_index) | (labels >= head.num_classes), -1).cpu().numpy()

    @staticmethod
    def _parts(sample: Any) -> Optional[np.ndarray]:
        return sample.gt_part_seg.data[0].long().cpu().numpy() if 'gt_part_seg' in sample else None
