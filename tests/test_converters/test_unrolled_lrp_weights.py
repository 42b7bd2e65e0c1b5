"""Official checkpoints hold the encoder with torchvision's names, and a decoder that aliases it."""
import pytest
import torch
from torchvision.models import resnet18, vgg16, vgg16_bn

from mmfss.converters.unrolled_lrp_weights import convert_unrolled_lrp
from mmfss.models import UnrolledLRPSegmentor
from mmfss.utils.checkpoint import CheckpointError


def official(network: torch.nn.Module) -> dict:
    state = {f'encoder.{name}': value for name, value in network.state_dict().items()}
    state['tied_weights_decoder.decoder.inv_linear_1.inv_m.weight'] = torch.zeros(3)
    return dict(state_dict=state)


def test_resnet() -> None:
    network = resnet18(num_classes=5).eval()
    weights, meta = convert_unrolled_lrp(official(network))
    model = UnrolledLRPSegmentor(
        dict(type='mmpretrain.ResNet', depth=18), dict(type='PooledClassifier', in_channels=512, num_classes=5),
        dict(type='UnrolledLRPHead')).eval()
    model.load_state_dict(weights)
    x = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(model.classify(x), network(x))
    assert meta == dict(model='unrolled LRP, resnet', num_classes=5)


@pytest.mark.parametrize('network', [vgg16, vgg16_bn])
def test_vgg(network: callable) -> None:
    """Names and shapes; on the meta device, as the hidden layers are large."""
    with torch.device('meta'):
        source = network(num_classes=5)
        norm_cfg = dict(type='BN') if network is vgg16_bn else None
        model = UnrolledLRPSegmentor(
            dict(type='mmpretrain.VGG', depth=16, norm_cfg=norm_cfg), dict(type='VGGClassifier', num_classes=5),
            dict(type='UnrolledLRPHead'))
    weights, _ = convert_unrolled_lrp(official(source))
    expected = model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(value.shape == expected[name].shape for name, value in weights.items())


@pytest.mark.parametrize(('state', 'message'), [
    ({'backbone.conv1.weight': torch.ones(1)}, 'It is not a model of unrolled LRP.*It holds backbone.conv1.weight'),
    ({'encoder.fc.weight': torch.ones(2, 1), 'encoder.stem.weight': torch.ones(1)}, 'not a ResNet.*"stem.weight"')])
def test_other_files(state: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert_unrolled_lrp(dict(state_dict=state))
