"""Report of the sparsity of a model's groups, with definitions."""
from typing import Any, Optional, Sequence

import torch
from mmengine.dist import is_main_process
from prettytable import PrettyTable
from torch import Tensor

from mmfss.models import ScaleProtoGroupHead

DEFINITIONS = dict(
    prototypes='prototypes of the model (after push and removal of duplicates)',
    used_prototypes='prototypes with a weight above 0 in some group of their class',
    prototypes_per_group='mean number of weights above 0 in a group',
    scales_per_group='mean number of scales among them',
    single_groups='groups with one weight above 0 at most',
    entropy='mean of -sum w log(w + 1e-5) / log n_c over all groups, before and after thresholding',
    off_class_weight='sum of the absolute last-layer weights between a class and groups of others',
    off_class_connections='number of them above 0.001')


@torch.no_grad()
def group_report(head: ScaleProtoGroupHead, threshold: Optional[float] = None,
                 classes: Optional[Sequence[str]] = None, entropy_before: Optional[Tensor] = None) -> dict[str, Any]:
    """Describe the groups of a head.

    Args:
        head (ScaleProtoGroupHead): The head.
        threshold (float, optional): Weights below were set to 0; for the record.
        classes (Sequence[str], optional): Names of the C classes.
        entropy_before (Tensor, optional): Normalized entropies before thresholding, shape (C, K).

    Returns:
        dict: ``definitions`` of the figures; the figures; ``used_per_class`` and ``used_per_scale``; ``groups``, the
        composition: for each group of each class the prototypes with a weight above 0, their weight and scale.
    """
    classes = list(classes or map(str, range(head.num_classes)))
    weights, members, populated = head.group_weights, head.group_members, head.populated
    active = weights > 0
    used = head.used_prototypes
    # Prototypes and scales of each group
    counts = active.sum(2)[populated].float()
    scales = torch.stack([(active & (head.proto_scale[members.clamp(min=0)] == s)[:, None]).any(2)
                          for s in range(head.num_scales)]).sum(0)[populated].float()
    off_class = head.class_weights.masked_fill(head.own_groups, 0).abs()
    entropy = head.entropy()[populated]
    return dict(
        definitions=DEFINITIONS,
        threshold=threshold,
        prototypes=head.num_prototypes,
        used_prototypes=int(used.sum()),
        prototypes_per_group=float(counts.mean()),
        scales_per_group=float(scales.mean()),
        single_groups=int((counts <= 1).sum()),
        entropy=dict(before=None if entropy_before is None else float(entropy_before[populated].mean()),
                     after=float(entropy.mean())),
        off_class_weight=float(off_class.sum()),
        off_class_connections=int((off_class > 1e-3).sum()),
        used_per_class={classes[c]: int(used[head.proto_class == c].sum()) for c in range(head.num_classes)},
        used_per_scale=[int(used[head.proto_scale == s].sum()) for s in range(head.num_scales)],
        groups=[_composition(head, c, k, classes[c]) for c in populated.nonzero().flatten().tolist()
                for k in range(head.num_groups)])


def _composition(head: ScaleProtoGroupHead, class_id: int, group: int, name: str) -> dict[str, Any]:
    weights, members = head.group_weights[class_id, group], head.group_members[class_id]
    order = [place for place in weights.argsort(descending=True).tolist() if weights[place] > 0]
    return dict(
        class_id=class_id, class_name=name, group=group,
        weight=float(head.class_weights[class_id][head.group_class == class_id][group]),
        single=len(order) <= 1,
        prototypes=[
            dict(index=int(members[place]), weight=float(weights[place]), scale=int(head.proto_scale[members[place]]))
            for place in order
        ])


def print_report(report: dict[str, Any]) -> None:
    """Print the figures and what they mean, on the main process only.

    Args:
        report (dict): See :func:`group_report`.
    """
    if not is_main_process():
        return
    table = PrettyTable(['groups', 'figure', 'definition'], align='l')
    for name, definition in report['definitions'].items():
        value = report[name]
        if isinstance(value, dict):
            value = ' -> '.join('-' if part is None else f'{part:.3f}' for part in value.values())
        table.add_row([name, f'{value:.2f}' if isinstance(value, float) else value, definition])
    print(table, flush=True)

