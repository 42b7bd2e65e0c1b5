from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmfss import register_all_modules
from mmfss.engine.self_finetuning import SelfFinetuner
from mmfss.models import FewShotSegmentor
from mmfss.models.layers import resize_aligned
from mmfss.registry import MODELS
from tests.references.correlations import assert_close, assert_masks, build_model, episodes, load
from tests.references.dmtnet_ties import OF_QUERIES, of_sample, of_supports, settled
from tests.tiny.data import write_class_folders

# Backbone, seed of weights and inputs, side.
CASES = dict(r50_136=('resnet50', 22, 136), vgg16_138=('vgg16', 10, 138))
SCALES = ('head.learner.mix.0.7.weight', 'head.learner.mix.1.7.weight')


class TestReference:
    """Two steps, with weights and optimizer state carried over, of the official implementation without dropout."""

    @pytest.mark.parametrize('name', CASES)
    def test_two_batches(self, name: str, tmp_path: Path) -> None:
        backbone, seed, side = CASES[name]
        options = dict(references='published') if backbone == 'vgg16' else {}
        model = build_model('dmtnet', backbone, seed, tmp_path, **options)
        data, expected = episodes(2, 3, side, seed, waves=True), load('dmtnet', name)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        tuner = SelfFinetuner(model, lr=0.1)
        weights = dict(model.named_parameters())
        with tuner.active():
            for t in range(2):
                support, masks = data['support'][t:t + 1], data['masks'][t:t + 1]
                pyramid = model.extract_feat(support[0, 0])
                with settled(of_sample(of_supports(name), 3 * t, 3)):
                    loss = tuner.step(pyramid, masks[0, 0])
                assert_close(loss, expected[f'tsf_loss_{t}'], 5e-3)
                for key, place in (('w4to3', 0), ('w3to2', 1)):
                    assert_close(weights[SCALES[place]], expected[f'tsf_{key}_{t}'], 5e-3, key)
                with torch.no_grad(), settled(of_sample(OF_QUERIES[name], t)):
                    encoding = model.encode_features(pyramid, masks)
                    query = model.extract_feat(data['query'][t:t + 1])
                    shots = resize_aligned(model.head(query, encoding.ways[0])[0], (side, side))
                    assert_close(shots[:, None, :, ::5, ::7], expected[f'tsf_logits_{t}'], 5e-3)
                    voted = model.match(query, encoding, (side, side)).argmax(1)
                    assert_masks(voted, expected[f'tsf_pred_{t}'])
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def tiny(**head) -> FewShotSegmentor:
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    return MODELS.build(tiny_config(**head)).eval()


def tiny_config(**head) -> dict:
    return dict(
        type='FewShotSegmentor',
        backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
        features=dict(num_levels=3),
        head=dict(dict(type='DMTNetHead'), **head))


class TestSelfFinetuner:

    def test_only_the_chosen_weights_learn_and_all_is_as_before(self) -> None:
        model = tiny()
        model.train()
        wanted = {name: p.requires_grad for name, p in model.named_parameters()}
        modes = [module.training for module in model.modules()]
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        tuner = SelfFinetuner(model, lr=1e-2)
        masks = torch.zeros(2, 128, 128)
        masks[:, 20:90, 30:100] = 1
        with tuner.active():
            assert {name for name, p in model.named_parameters() if p.requires_grad} == set(SCALES)
            assert not model.training
            pyramid = model.extract_feat(torch.randn(2, 3, 128, 128))
            first, *_, last = [tuner.step(pyramid, masks) for _ in range(5)]
            assert last < first
            changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
            assert changed == set(SCALES)
            tuner.restore()
            assert torch.equal(tuner.step(pyramid, masks), first)
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        assert {name: p.requires_grad for name, p in model.named_parameters()} == wanted
        assert [module.training for module in model.modules()] == modes
        assert all(p.grad is None for p in model.parameters())

    def test_the_loss_is_of_logits_whatever_is_predicted(self) -> None:
        masks = torch.zeros(1, 128, 128)
        masks[:, 20:90, 30:100] = 1
        losses = []
        for options in ({}, dict(one_shot_probabilities=True)):
            model = tiny(**options)
            model.threshold = 0.2 if options else 0.5
            tuner = SelfFinetuner(model, lr=1e-2)
            with tuner.active():
                torch.manual_seed(0)
                losses.append(tuner.step(model.extract_feat(torch.randn(1, 3, 128, 128)), masks))
        assert torch.equal(*losses)

    def test_weights_come_back_after_an_error(self) -> None:
        model = tiny()
        scale = model.head.learner.mix[0][7].weight
        before = scale.detach().clone()
        with pytest.raises(RuntimeError, match='stop'), SelfFinetuner(model, lr=1.).active():
            with torch.no_grad():
                scale.add_(1)
            raise RuntimeError('stop')
        assert torch.equal(scale, before)

    def test_names_that_do_not_exist(self) -> None:
        with pytest.raises(ValueError, match='"head.nothing.*" .*names no parameter'):
            SelfFinetuner(tiny(), 1e-6, ['head.nothing.*'])

    def test_dropout_is_an_option(self) -> None:
        model = tiny(dropout=0.5)
        for dropout in (False, True):
            with SelfFinetuner(model, 1e-6, dropout=dropout).active():
                assert model.head.references.dropout.training == dropout
                assert not model.backbone.training


class TestLoop:

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return write_class_folders(tmp_path / 'data')

    @staticmethod
    def run(root: Path, work_dir: Path, head: str = 'DMTNetHead', **loop) -> tuple[dict, FewShotSegmentor]:
        register_all_modules(init_default_scope=True)
        resize = dict(type='ResizeEpisodeImage', scale=(128, 128))
        pipeline = [
            dict(type='ForEachImage', transforms=[dict(type='LoadEpisodeImage'), dict(type='LoadClassMask'), resize]),
            dict(type='PackEpisodeInputs')
        ]
        torch.manual_seed(0)
        runner = RUNNERS.build(Config(dict(
            model=tiny_config(type=head),
            work_dir=str(work_dir),
            test_dataloader=dict(
                batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='ImageFolderDataset', data_root=str(root), split='test', fold=None, num_shots=2,
                             num_episodes=4, pipeline=pipeline)),
            test_evaluator=dict(type='EpisodicIoU', num_replicates=0),
            test_cfg=dict(type='SelfFinetuningTestLoop', **loop),
            default_scope='mmfss', log_level='ERROR', experiment_name=work_dir.name,
            default_hooks=dict(logger=None, checkpoint=None), randomness=dict(seed=0))))
        before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
        metrics = runner.test()
        assert all(torch.equal(p, before[name]) for name, p in runner.model.named_parameters())
        return metrics, runner.model

    def test_runs_and_restores(self, root: Path, tmp_path: Path) -> None:
        metrics, model = self.run(root, tmp_path / 'a', lr=1e-2)
        assert metrics['episodes'] == 4 and 0 <= metrics['mIoU'] <= 100
        assert all(p.grad is None for p in model.parameters())

    def test_other_heads_and_options(self, root: Path, tmp_path: Path) -> None:
        metrics, _ = self.run(root, tmp_path / 'b', head='HSNetHead', lr=1e-3, reset=True, dropout=True)
        assert metrics['episodes'] == 4

    def test_wrong_options(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match='positive learning rate .test_cfg.lr., got 0'):
            self.run(root, tmp_path / 'c', lr=0)
        with pytest.raises(ValueError, match='test_cfg.parameters'):
            self.run(root, tmp_path / 'd', parameters=['backbone.nothing'])
