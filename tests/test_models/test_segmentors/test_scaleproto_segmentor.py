"""The segmentor: resolutions, frozen parts, inference."""
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmfss.models import ScaleProtoSegmentor
from tests.tiny.seg import TINY_HEAD, TINY_SEGMENTOR, TinySegDataset, build_tiny_segmentor


def batch(size: int = 3) -> dict:
    items = [TinySegDataset()[i] for i in range(size)]
    return dict(inputs=[item['inputs'] for item in items], data_samples=[item['data_samples'] for item in items])


def train(model: ScaleProtoSegmentor, steps: int = 3) -> None:
    optimizer = torch.optim.Adam([x for x in model.parameters() if x.requires_grad], lr=0.01, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        data = model.data_preprocessor(batch(), True)
        losses = model.loss(data['inputs'], data['data_samples'])
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()


@pytest.mark.parametrize('trainable', [
    ['scale_convs', 'prototypes'], ['backbone', 'scale_convs', 'prototypes'], ['classifier'], ['groups'],
    ['groups', 'group_classifier']])
def test_what_is_frozen_stays_bit_by_bit(trainable: list[str]) -> None:
    head = dict(TINY_HEAD)
    if 'groups' in trainable:
        head.update(type='ScaleProtoGroupHead', num_groups=2, regularizers=[dict(type='GroupEntropyLoss')])
    model = build_tiny_segmentor(trainable=trainable, decode_head=head)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    expected = {name for name in before if any(f'{part}' in name.split('.') for part in trainable)}
    norms = {name for name in before if '.bn' in name or 'running' in name or 'downsample.1' in name}
    assert changed and changed <= expected - norms
    assert changed == {name for name, x in model.named_parameters() if x.requires_grad}


def test_frozen_statistics() -> None:
    """A backbone whose statistics move in training does not move once it is frozen."""
    backbone = dict(TINY_SEGMENTOR['backbone'], norm_cfg=dict(type='BN'), norm_eval=False)
    for trainable, moves in ((['backbone'], True), (['classifier'], False)):
        model = build_tiny_segmentor(backbone=backbone, trainable=trainable)
        before = model.backbone.bn1.running_mean.clone()
        train(model, 1)
        assert (not model.backbone.bn1.running_mean.equal(before)) == moves


@pytest.mark.parametrize('msc_scales', [(), (0.5, )])
def test_auxiliary_head(msc_scales: tuple) -> None:
    auxiliary = dict(type='FCNHead', in_channels=TINY_HEAD['in_channels'], channels=4, num_convs=1,
                     num_classes=TINY_HEAD['num_classes'])
    model = build_tiny_segmentor(auxiliary_head=auxiliary, msc_scales=msc_scales)
    data = model.data_preprocessor(batch(), True)
    loss = model.loss(data['inputs'], data['data_samples'])['aux.loss_ce']
    expected = model.auxiliary_head.loss(model.backbone(data['inputs']), data['data_samples'], model.train_cfg)
    torch.testing.assert_close(loss, expected['loss_ce'])


def test_unknown_part() -> None:
    with pytest.raises(ValueError, match=r"names \['aspp'\], but the parts of this model are .*'scale_convs'"):
        build_tiny_segmentor(trainable=['aspp'])


def test_bad_resolution() -> None:
    with pytest.raises(ValueError, match='msc_scales are factors above 0'):
        build_tiny_segmentor(msc_scales=(0.5, 0))


def test_training_on_several_resolutions() -> None:
    model = build_tiny_segmentor(msc_scales=(0.5, 0.75))
    data = model.data_preprocessor(batch(), True)
    losses = model.loss(data['inputs'], data['data_samples'])
    maps = model.decode_head.embeddings(model.extract_feat(data['inputs']))
    assert [x.shape[-1] for x in maps] == [4, 2, 3, 4]
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data['data_samples']])
    each = [model.decode_head.losses(x.sigmoid(), labels) for x in maps]
    for name in ('loss_ce', 'loss_diversity', 'loss_l1'):
        torch.testing.assert_close(losses[f'decode.{name}'], sum(entry[name] for entry in each) / 4)


def test_training_in_bfloat16() -> None:
    model = build_tiny_segmentor()
    data = model.data_preprocessor(batch(), True)
    plain = model.loss(data['inputs'], data['data_samples'])
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(data['inputs'], data['data_samples'])
    for name, value in losses.items():
        assert value.dtype is torch.float32
        torch.testing.assert_close(value, plain[name], rtol=0.1, atol=0.05 if 'loss' in name else 100)
    losses['decode.loss_ce'].backward()
    assert model.decode_head.prototypes.grad.isfinite().all() and model.backbone.conv1.weight.grad.isfinite().all()


@torch.no_grad()
def test_one_step_to_the_size_of_the_annotation() -> None:
    model = build_tiny_segmentor()
    images = torch.randn(1, 3, 32, 32)
    sample = SegDataSample(metainfo=dict(ori_shape=(50, 61), img_shape=(32, 32), pad_shape=(32, 32)),
                           gt_sem_seg=PixelData(data=torch.zeros(1, 50, 61, dtype=torch.int64)))
    logits = model.decode_head(model.extract_feat(images))
    once = torch.nn.functional.interpolate(logits, (50, 61), mode='bilinear', align_corners=False)
    torch.testing.assert_close(model.predict(images, [sample.clone()])[0].seg_logits.data, once[0])
    model.one_step_resize = False
    twice = model.predict(images, [sample.clone()])[0].seg_logits.data
    assert twice.shape == once[0].shape and not torch.allclose(twice, once[0])
    padded = sample.clone()
    padded.set_metainfo(dict(padding_size=[0, 4, 0, 4]))
    model.one_step_resize = True
    assert model.predict(images, [padded])[0].pred_sem_seg.data.shape == (1, 50, 61)
