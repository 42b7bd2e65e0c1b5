"""Test-time self-finetuning: a few weights learn to segment each support from itself before the query."""
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any, Dict, Iterator, List, Sequence, Union

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader

from mmfss.models import FeaturePyramid, FewShotSegmentor
from mmfss.models.features import lock_of
from mmfss.models.losses import pixel_cross_entropy
from mmfss.models.segmentors.base_few_shot_segmentor import add_predictions, support_masks
from mmfss.registry import LOOPS
from mmfss.utils.unwrap import unwrap

LAST_SCALES = ('head.learner.mix.*.7.weight', )
"""The published choice: the scale of the last GroupNorm of both mixing blocks, 256 numbers."""


class SelfFinetuner:
    """Tune a model to its supports (DMTNet, section 3.4).

    While it is active, predictions that other threads begin on the model wait.

    Args:
        model (FewShotSegmentor): The model.
        lr (float): Learning rate of Adam.
        parameters (Sequence[str]): Patterns of the names of the parameters that learn.
        dropout (bool): Whether the head's dropout acts while tuning and predicting.

    Raises:
        ValueError: If a pattern names no parameter.
    """

    def __init__(self, model: FewShotSegmentor, lr: float, parameters: Sequence[str] = LAST_SCALES,
                 dropout: bool = False) -> None:
        named = dict(model.named_parameters())
        for pattern in parameters:
            if not any(fnmatch(name, pattern) for name in named):
                raise ValueError(f'Self-finetuning: "{pattern}" (test_cfg.parameters) names no parameter of the model. '
                                 f'Its last are: {", ".join(list(named)[-6:])}.')
        self.model, self.lr, self.dropout = model, lr, dropout
        self.tuned = [value for name, value in named.items() if any(fnmatch(name, pattern) for pattern in parameters)]
        self._original = [value.detach().clone() for value in self.tuned]
        self.restore()

    def restore(self) -> None:
        """Restore the initial weights, and start with a new optimizer."""
        with torch.no_grad():
            for value, original in zip(self.tuned, self._original):
                value.copy_(original)
        self.optimizer = torch.optim.Adam(self.tuned, lr=self.lr)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Train only the chosen weights inside the context; restore weights, modes and gradient flags afterwards."""
        wanted = {parameter: parameter.requires_grad for parameter in self.model.parameters()}
        modes = {module: module.training for module in self.model.modules()}
        with lock_of(self.model.backbone):
            try:
                # Only the tuned parameters are trained
                self.model.requires_grad_(False)
                for value in self.tuned:
                    value.requires_grad_(True)
                self.model.eval()
                self.model.head.train(self.dropout)
                yield
            finally:
                # Leave the model as it was
                self.restore()
                for parameter, requires_grad in wanted.items():
                    parameter.requires_grad_(requires_grad)
                    parameter.grad = None if parameter in set(self.tuned) else parameter.grad
                for module, training in modes.items():
                    module.training = training

    def step(self, supports: FeaturePyramid, masks: Tensor) -> Tensor:
        """Run one training step that segments each support with itself as the only support.

        Args:
            supports (FeaturePyramid): Features of n supports.
            masks (Tensor): Their masks, shape (n, H, W).

        Returns:
            Tensor: The loss before the step, a scalar.
        """
        with torch.enable_grad():
            encoding = self.model.encode_features(supports, masks[:, None, None])
            logits = self.model.match(supports, encoding, masks.shape[-2:], for_loss=True)
            loss = pixel_cross_entropy(logits.float(), masks.long())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.detach()


@LOOPS.register_module()
class SelfFinetuningTestLoop(TestLoop):
    r"""Test like MMEngine's loop, with a self-finetuning step for every batch before its queries are segmented.

    .. code-block:: shell

        python tools/test.py CONFIG CHECKPOINT --cfg-options test_cfg.type=SelfFinetuningTestLoop test_cfg.lr=1e-6

    As published, weights and optimizer carry over from batch to batch: results depend on the order of the episodes, the
    batch size, and the number of processes, each of which tunes for its own share. By default the episodes are
    sequential and dropout is off. The published runs had shuffled episodes in full batches of 30, and dropout on:

    .. code-block:: shell

        --cfg-options test_cfg.dropout=True test_dataloader.batch_size=30 test_dataloader.drop_last=True \
            test_dataloader.dataset.sampler.shuffle_seed=0 test_dataloader.dataset.sampler.num_episodes=600

    The model has its weights back when the test ends.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The test data.
        evaluator (Evaluator | dict | list): The metrics.
        lr (float): Learning rate of Adam. Published: 1e-6, and 1e-1 for chest X-ray. Defaults to 1e-6.
        parameters (Sequence[str]): Patterns of the names of the weights that learn. Defaults to the scales of the last
            GroupNorm of both mixing blocks.
        dropout (bool): Whether dropout acts, in the step and in the prediction that is scored. Defaults to False.
        reset (bool): Start every batch from the trained weights: with ``batch_size=1`` each episode is on its own.
            Defaults to False.
        fp16 (bool): Whether to run under autocast.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: Union[DataLoader, Dict],
                 evaluator: Union[Evaluator, Dict, List],
                 lr: float = 1e-6,
                 parameters: Sequence[str] = LAST_SCALES,
                 dropout: bool = False,
                 reset: bool = False,
                 fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        if lr <= 0:
            raise ValueError(f'Self-finetuning needs a positive learning rate (test_cfg.lr), got {lr}.')
        self.lr, self.parameters, self.dropout, self.reset = lr, tuple(parameters), dropout, reset

    def run(self) -> Dict[str, Any]:
        """Test.

        Returns:
            dict: The metrics.
        """
        model = self.runner.model
        self.finetuner = SelfFinetuner(unwrap(model), self.lr, self.parameters,
                                       self.dropout)
        with self.finetuner.active():
            return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Dict[str, Any]) -> None:
        """Tune on the supports of a batch, then segment its queries.

        Args:
            idx (int): Number of the batch.
            data_batch (dict): Episodes as the data loader gives them.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        model = self.finetuner.model
        # The loop above set all to eval mode.
        model.head.train(self.dropout)
        if self.reset:
            self.finetuner.restore()
        data = model.data_preprocessor(data_batch, False)
        query, support, samples = data['inputs']['query'], data['inputs']['support'], data['data_samples']
        masks = support_masks(samples).to(support.dtype)
        with autocast(enabled=self.fp16):
            # Way by way, as supports are encoded.
            pyramid = model.extract_feat(support.transpose(0, 1).flatten(0, 2))
            self.finetuner.step(pyramid, masks.transpose(0, 1).flatten(0, 2))
            encoding = model.encode_features(pyramid, masks)
            logits = model.match(model.extract_feat(query), encoding, query.shape[-2:])
        outputs = add_predictions(samples, logits)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
