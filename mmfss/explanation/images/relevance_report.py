"""Report of a run that explained a classifier by its relevance: JSON, a table, a page."""
from collections import Counter
from statistics import mean, median
from typing import Any, Mapping, Sequence

from mmfss.utils.files import dump_json, write_text
from mmfss.visualization.pages.explanation_page import write_explanation_page
from ..run_folder import ExplanationFolder, Record
from .relevance_study import RELEVANCE_METRICS

Results = dict[str, Any]
SHOWN_CONFUSIONS = 10


def write_relevance_report(folder: ExplanationFolder, description: Mapping[str, Any], items: Sequence[int],
                           explainers: Sequence[str], metrics: Sequence[str], classes: Sequence[str]) -> Results:
    """Write ``results.json``, ``table.md`` and ``index.html``.

    Args:
        folder (ExplanationFolder): The folder, with the records of all images.
        description (Mapping): What must be known to read the results.
        items (Sequence[int]): Indices of the images.
        explainers (Sequence[str]): Their names.
        metrics (Sequence[str]): Their names.
        classes (Sequence[str]): Names of the classes.

    Returns:
        dict: What is in ``results.json``.
    """
    records = [folder.read(index) for index in sorted(items)]
    results = dict(description, **summarize_relevance(records, explainers, metrics, classes))
    results['markdown'] = to_markdown(results)
    dump_json(results, folder.root / 'results.json')
    write_text(results['markdown'], folder.root / 'table.md')
    write_explanation_page(folder.root, results, records, title='Explained images', items='images')
    return results


def summarize_relevance(records: Sequence[Record], explainers: Sequence[str], metrics: Sequence[str],
                        classes: Sequence[str]) -> Results:
    """Summarize the records: mean scores of each explainer, IoU of each class, confusions.

    Args:
        records (Sequence[dict]): Records of all images.
        explainers (Sequence[str]): Their names.
        metrics (Sequence[str]): Their names.
        classes (Sequence[str]): Names of the classes.

    Returns:
        dict: ``scores`` by explainer and metric, ``seconds`` (median), ``per_class``, ``mean_iou``, ``confusions``
        (true class, predicted class, pixels; most first), ``metrics``, ``empty``.
    """
    explained = [record for record in records if not record['empty']]
    confused: Counter = Counter()
    for record in records:
        for truth, found, count in record['confusion']:
            confused[classes[truth], classes[found]] += count
    per_class = {}
    for name in classes:
        counts = [record['counts'][name] for record in records if name in record['counts']]
        if counts:
            per_class[name] = sum(hit for hit, _ in counts) / sum(union for _, union in counts)
    return dict(
        num_explained=len(explained),
        empty=[dict(index=record['index'], reason=record['reason']) for record in records if record['empty']],
        mean_iou=mean(per_class.values()) if per_class else None,
        per_class=per_class,
        prediction_seconds=median(record['prediction_seconds'] for record in records) if records else None,
        metrics={name: dict(higher_is_better=RELEVANCE_METRICS[name][0], percent=RELEVANCE_METRICS[name][1])
                 for name in metrics},
        scores={name: {metric: _score(explained, metric, name) for metric in metrics} for name in explainers},
        seconds={name: median(record['seconds'][name] for record in explained) if explained else None
                 for name in explainers},
        confusions=[[truth, found, count] for (truth, found), count in confused.most_common()])


def _score(records: Sequence[Record], metric: str, explainer: str) -> dict[str, Any]:
    values = [record['scores'][metric][explainer]['value'] for record in records]
    known = [value for value in values if value is not None]
    factor = 100 if RELEVANCE_METRICS[metric][1] else 1
    return dict(value=factor * mean(known) if known else None, interval=None, num_nan=len(values) - len(known))


def to_markdown(results: Results) -> str:
    """Format the table that compares the maps, with notes on how to read it.

    Args:
        results (dict): As in ``results.json``.

    Returns:
        str: Markdown.
    """
    metrics = results['metrics']
    lines = [['map', *(f'{name} {"↑" if meta["higher_is_better"] else "↓"}' for name, meta in metrics.items()),
              'seconds'], ['---'] + ['---:'] * (len(metrics) + 1)]
    for explainer, scores in results['scores'].items():
        cells = [scores[name]['value'] for name in metrics]
        digits = [1 if meta['percent'] else 3 for meta in metrics.values()]
        seconds = results['seconds'][explainer]
        lines.append([explainer, *('-' if value is None else f'{value:.{places}f}'
                                   for value, places in zip(cells, digits)),
                      '-' if seconds is None else f'{seconds:.3g}'])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    iou = '' if results['mean_iou'] is None else f', mIoU {100 * results["mean_iou"]:.1f} %'
    said = [
        f'{results["num_images"]} images of {results["dataset"]}{iou}. Explained: the logits of the classes in the '
        f'region "{results["region"]}" by {results["decoder"]}.',
        'Relevance mass and rank accuracy in per cent; deletion and insertion are mean class logits, '
        f'{100 * results["step"]:g} % of the pixels per step. Better is up (↑) or down (↓).']
    if results['confusions']:
        worst = [f'{truth} as {found} ({count} px)' for truth, found, count in results['confusions'][:SHOWN_CONFUSIONS]]
        said.append(f'Most confused: {", ".join(worst)}.')
    return f'{table}\n\n' + '\n'.join(said) + '\n'
