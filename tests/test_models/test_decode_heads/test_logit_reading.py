"""Logits of prototype models, decomposed."""
import pytest
import torch
from torch import Tensor

from mmfss.models import PrototypeHead
from mmfss.models.decode_heads.logit_reading import LogitReading
from tests.tiny.seg import TINY_HEAD, build_tiny_segmentor

GROUPS = dict(TINY_HEAD, type='ScaleProtoGroupHead', num_groups=3, regularizers=[])


def read(head: dict) -> tuple[PrototypeHead, LogitReading, Tensor]:
    head = build_tiny_segmentor(decode_head=head).decode_head
    if head.num_groups:
        head.threshold_groups(0.2)
        head.groups.data[1, 2] = 0
        torch.nn.init.normal_(head.group_classifier.weight)
    features = torch.rand(1, 8, 5, 6)
    return head, head.read(features), head.classify(features)[0]


@pytest.mark.parametrize('head', [TINY_HEAD, GROUPS], ids=['stage 1', 'stage 2'])
class TestReading:

    def test_logits(self, head: dict) -> None:
        _, reading, logits = read(head)
        torch.testing.assert_close(reading.logits.float(), logits, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize('everywhere', [True, False])
    def test_complete(self, head: dict, everywhere: bool) -> None:
        head, reading, logits = read(head)
        region = torch.rand(5, 6)
        weights = (torch.ones(5, 6) if everywhere else region) / (30 if everywhere else region.sum())
        for class_id in range(4):
            parts = reading.explain(class_id, None if everywhere else region)
            own = parts['groups'] if head.num_groups else parts['prototypes']
            total = sum(part['contribution'] for part in own + parts['others'])
            assert parts['logit'] == pytest.approx(total, rel=1e-9)
            assert parts['logit'] == pytest.approx(float((logits[class_id] * weights).sum()), rel=1e-5)
            for group in parts.get('groups', []):
                assert group['contribution'] == pytest.approx(group['weight'] * group['activation'])
                if group['prototypes']:
                    for key, whole in (('contribution', 'contribution'), ('log_share', 'log_activation')):
                        assert sum(p[key] for p in group['prototypes']) == pytest.approx(group[whole], rel=1e-9)

    def test_members(self, head: dict) -> None:
        head, reading, _ = read(head)
        for class_id in range(4):
            parts = reading.explain(class_id)
            named = {p['index'] for group in parts.get('groups', [parts]) for p in group['prototypes']}
            assert sorted(named) == head.class_prototypes(class_id).tolist()
            assert all(head.proto_class[index] == class_id for index in named)
            filled = sum(1 for group in parts.get('groups', []) if group['prototypes'])
            assert head.filled_groups(class_id) == filled
        assert head.filled_groups(1) == (2 if head.num_groups else 0)


def test_strongest() -> None:
    head, reading, _ = read(GROUPS)
    maps = reading.log_groups[3:6].exp() * head.class_weights[1, 3:6].detach().double()[:, None, None]
    assert torch.equal(reading.strongest_group(1), maps.argmax(0))
    members = head.class_prototypes(1)
    chosen = members[reading.strongest_prototype(1)]
    assert torch.equal(reading.similarities.gather(0, chosen[None])[0], reading.similarities[members].amax(0))


def test_a_class_without_prototypes_is_what_others_say() -> None:
    model = build_tiny_segmentor(decode_head=GROUPS)
    kept = (model.decode_head.proto_class != 3).nonzero().flatten()
    head = model.decode_head
    head.set_layout(head.proto_class[kept], head.proto_scale[kept])
    reading = head.read(torch.rand(1, 8, 5, 6))
    parts = reading.explain(3)
    assert parts['groups'] == [] and len(parts['others']) == 3 and not len(head.class_prototypes(3))
    assert parts['logit'] == pytest.approx(sum(other['contribution'] for other in parts['others']))
