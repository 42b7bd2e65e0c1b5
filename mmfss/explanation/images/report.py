"""Report of a run that decomposed the predictions of a prototype model: JSON, a table, a page."""
from pathlib import Path
from statistics import median
from typing import Any, Mapping, Optional, Sequence

from mmfss.models import PrototypeHead
from mmfss.prototypes.sources import PrototypeSources
from mmfss.utils.files import dump_json, write_text
from mmfss.visualization import write_prototype_page
from ..figures import known_mean, table_figure
from ..run_folder import ExplanationFolder
from .panels import first_colour, region_pixels

Record = dict[str, Any]
Results = dict[str, Any]

DEFINITIONS = dict(
    images='images in which the class is explained',
    iou='intersection over union over all explained images, void left out',
    groups='groups of the class that have a prototype left',
    prototypes='prototypes of the class that a group uses; in stage 1, all it has',
    logit='mean logit over the region of the class, mean over images',
    own='part of it that the own groups (stage 1: prototypes) make up; the rest is what other classes take away',
    own_share='absolute part of the own ones among the absolute parts of all classes',
    top_share='part of the largest prototype in what the own ones make up')


def write_prototype_report(folder: ExplanationFolder, description: Mapping[str, Any], items: Sequence[int],
                           head: PrototypeHead, classes: Sequence[str],
                           sources: Optional[PrototypeSources] = None) -> Results:
    """Write ``results.json``, ``table.md`` and ``index.html``.

    Args:
        folder (ExplanationFolder): The folder, with the records of all images.
        description (Mapping): What must be known to read the results; ``region`` among it.
        items (Sequence[int]): Indices of the images.
        head (PrototypeHead): The head.
        classes (Sequence[str]): Names of the classes.
        sources (PrototypeSources, optional): Where the prototypes come from.

    Returns:
        dict: What is in ``results.json``: the description, and the results of :func:`summarize_classes`.
    """
    records = [folder.read(index) for index in sorted(items)]
    results = dict(description, **summarize_classes(records, head, classes))
    results['markdown'] = to_markdown(results)
    dump_json(results, folder.root / 'results.json')
    write_text(results['markdown'], folder.root / 'table.md')
    write_prototype_page(
        folder.root, results, records, lambda class_id, arrays: region_pixels(results['region'], class_id, arrays),
        None if sources is None else _PagePictures(sources), first_colour(classes))
    return results


class _PagePictures:
    """Load pictures of prototypes, None if a file is missing."""

    def __init__(self, sources: PrototypeSources) -> None:
        self.sources = sources

    def __call__(self, prototype: int) -> dict[str, Any]:
        record = self.sources[prototype]
        return dict(record, patch=self._read(self.sources.patch, prototype),
                    picture=self._read(self.sources.image, prototype), name=Path(record['image'] or 'unknown').name)

    @staticmethod
    def _read(read: Any, prototype: int) -> Any:
        try:
            return read(prototype)
        except FileNotFoundError:
            return None


def summarize_classes(records: Sequence[Record], head: PrototypeHead, classes: Sequence[str]) -> Results:
    """Summarize the records of the images.

    Args:
        records (Sequence[dict]): Records of all images.
        head (PrototypeHead): The head.
        classes (Sequence[str]): Names of the classes.

    Returns:
        dict: ``stage`` (1 or 2), ``definitions``, ``per_class`` (those in the images or explained, with the figures of
        the definitions), ``mean_iou`` (over the classes in the images), ``seconds`` (median of an image), ``empty`` and
        ``failures``, worst first.
    """
    summaries = (_summarize_class(records, head, class_id, name) for class_id, name in enumerate(classes))
    per_class = [entry for entry in summaries if entry is not None]
    # Confusions of classes
    failures = [
        dict({key: failure[key] for key in ('class_name', 'iou', 'pixels')}, index=record['index'], number=number,
             image=record['info']['name'], truth=classes[failure['truth']], predicted=classes[failure['predicted']])
        for record in records for number, failure in enumerate(record['failures'])]
    return dict(
        stage=2 if head.num_groups else 1,
        definitions=DEFINITIONS,
        classes=list(classes),
        per_class=per_class,
        mean_iou=known_mean(entry['iou'] for entry in per_class),
        seconds=median(record['seconds'] for record in records) if records else None,
        empty=[dict(index=record['index'], reason=record['reason']) for record in records if record['empty']],
        failures=sorted(failures, key=lambda failure: (failure['iou'], -failure['pixels'])))


def _summarize_class(records: Sequence[Record], head: PrototypeHead, class_id: int,
                     name: str) -> Optional[dict[str, Any]]:
    trees = [tree for record in records for tree in record['classes'] if tree['class_id'] == class_id]
    counts = [record['counts'][name] for record in records if name in record['counts']]
    if not trees and not counts:
        return None
    members = head.class_prototypes(class_id)
    # Contribution of the class's own prototypes to its logit, and size of all others
    own = [sum(group['contribution'] for group in tree['groups']) for tree in trees]
    size = [sum(abs(term['contribution']) for term in tree['terms']) for tree in trees]
    own_shares = (abs(part) / (abs(part) + others) for part, others in zip(own, size) if abs(part) + others > 0)
    return dict(
        class_id=class_id,
        name=name,
        images=len(trees),
        iou=sum(hit for hit, _ in counts) / sum(union for _, union in counts) if counts else None,
        groups=head.filled_groups(class_id),
        prototypes=len(members),
        logit=known_mean(tree['total'] for tree in trees),
        own=known_mean(own),
        own_share=known_mean(own_shares),
        top_share=known_mean(_top(tree) / part for tree, part in zip(trees, own) if len(members) and part > 0))


def _top(tree: Mapping[str, Any]) -> float:
    """Return the largest contribution of a prototype, over all its groups."""
    sums: dict[int, float] = {}
    for group in tree['groups']:
        for prototype in group['prototypes']:
            sums[prototype['index']] = sums.get(prototype['index'], 0.) + prototype['contribution']
    return max(sums.values(), default=0.)


def to_markdown(results: Results) -> str:
    """Format the table of the classes, with notes on how to read it.

    Args:
        results (dict): As in ``results.json``.

    Returns:
        str: Markdown.
    """
    heads = ['class', 'images', 'IoU', *(['groups'] if results['stage'] == 2 else []), 'prototypes', 'logit', 'own',
             'own share', 'top prototype']
    lines = [heads, ['---'] + ['---:'] * (len(heads) - 1)]
    for entry in results['per_class']:
        lines.append([
            entry['name'], str(entry['images']), _percent(entry['iou']),
            *([str(entry['groups'])] if results['stage'] == 2 else []), str(entry['prototypes']),
            table_figure(entry['logit'], '.2f'), table_figure(entry['own'], '.2f'), _percent(entry['own_share']),
            _percent(entry['top_share'])])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    mean_iou = '' if results['mean_iou'] is None else f', mean IoU {_percent(results["mean_iou"])} %'
    # Notes
    said = [f'{results["num_images"]} images of {results["dataset"]}{mean_iou}. Explained: the region '
            f'"{results["region"]}". {len(results["failures"])} failures (a class with an IoU below '
            f'{_percent(results["failure_threshold"])} % in an image).', 'IoU and shares in per cent.']
    columns = dict(logit='logit', own='own', own_share='own share', top_share='top prototype')
    said += [f'{columns[key][0].upper()}{columns[key][1:]}: {results["definitions"][key]}.' for key in columns]
    return f'{table}\n\n' + '\n'.join(said) + '\n'


def _percent(value: Optional[float]) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
