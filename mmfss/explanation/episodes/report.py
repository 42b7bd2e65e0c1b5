"""Report of an explanation run: JSON, CSV, a table, a page."""
import csv
from math import nan
from pathlib import Path
from statistics import mean, median
from typing import Any, Mapping, Optional, Sequence

from mmfss.evaluation.attribution import AttributionMetric
from mmfss.utils.files import atomic_path, dump_json, write_text
from mmfss.visualization.pages.explanation_page import write_explanation_page
from ..figures import known_mean, table_figure
from ..run_folder import ExplanationFolder

Record = dict[str, Any]
Results = dict[str, Any]


def write_report(folder: ExplanationFolder, description: Mapping[str, Any], metrics: Sequence[AttributionMetric],
                 figures: Mapping[str, Any]) -> Results:
    """Write ``results.json``, ``results.csv``, ``table.md`` and ``index.html``.

    Args:
        folder (ExplanationFolder): The folder, with the records of all episodes.
        description (Mapping): What must be known to read the results; ``num_episodes`` and ``explainers``, configs by
            name, among it.
        metrics (Sequence[AttributionMetric]): The metrics, in the order of the columns.
        figures (Mapping): What they returned.

    Returns:
        dict: What is in ``results.json``: the description, and the results of :func:`summarize`.
    """
    records = [folder.read(index) for index in range(description['num_episodes'])]
    results = dict(description, **summarize(records, list(description['explainers']), metrics, figures))
    results['markdown'] = to_markdown(results)
    dump_json(results, folder.root / 'results.json')
    _write_csv(folder.root / 'results.csv', records, results)
    write_text(results['markdown'], folder.root / 'table.md')
    write_explanation_page(folder.root, results, records)
    return results


def summarize(records: Sequence[Record], explainers: Sequence[str], metrics: Sequence[AttributionMetric],
              figures: Mapping[str, Any]) -> Results:
    """Summarize the records of the episodes.

    Args:
        records (Sequence[dict]): Records of all episodes.
        explainers (Sequence[str]): Names of the explainers.
        metrics (Sequence[AttributionMetric]): The metrics.
        figures (Mapping): What they returned: ``'<explainer>/<metric>'``, with ``/interval`` and ``/num_nan``.

    Returns:
        dict: ``num_explained``; ``empty``, episodes that could not be explained, with the reason; ``mean_iou`` of all
        episodes; ``prediction_seconds`` (median); ``metrics``, by name whether ``higher_is_better`` and whether in
        ``percent``; ``scores`` by explainer and metric (``value``, ``interval``, ``num_nan``); ``seconds`` by explainer
        (median); ``forms`` by explainer, where it explained a differentiable form of the model; ``contributions`` by
        explainer, where it says them: the mean weight of each of its ``layers``, the ``layer_sizes``, and the mean
        ``own_shares`` of each layer, if the query also attends to itself.
    """
    explained = [record for record in records if not record['empty']]
    return dict(
        num_explained=len(explained),
        empty=[dict(index=record['index'], reason=record['reason']) for record in records if record['empty']],
        mean_iou=known_mean(record['iou'] for record in records),
        prediction_seconds=_median(record['prediction_seconds'] for record in records),
        metrics={metric.name: dict(higher_is_better=metric.higher_is_better, percent=metric.percent)
                 for metric in metrics},
        scores={name: {metric.name: _score(figures, f'{name}/{metric.name}') for metric in metrics}
                for name in explainers},
        seconds={name: _median(record['seconds'][name] for record in explained) for name in explainers},
        forms={name: form for record in explained for name, form in record.get('forms', {}).items()},
        contributions={name: _mean_contributions(explained, name) for name in explainers
                       if explained and name in explained[0]['contributions']})


def _score(figures: Mapping[str, Any], key: str) -> dict[str, Any]:
    return dict(value=figures.get(key), interval=figures.get(f'{key}/interval'), num_nan=figures.get(f'{key}/num_nan'))


def _median(values: Any) -> Optional[float]:
    # The first explanation in a process may take much longer than the others.
    values = list(values)
    return median(values) if values else None


def _mean_contributions(records: Sequence[Record], name: str) -> dict[str, list]:
    said = [record['contributions'][name] for record in records]
    keys = [key for key in ('layers', 'own_shares') if key in said[0]]
    ways = {key: [layers for contributions in said for layers in contributions[key]] for key in keys}
    return dict({key: [mean(layer) for layer in zip(*ways[key])] for key in keys}, layer_sizes=said[0]['layer_sizes'])


def to_markdown(results: Results) -> str:
    """Format the table that compares the explainers, with notes on how to read it.

    Args:
        results (dict): As in ``results.json``.

    Returns:
        str: Markdown. The best value of a column is bold.
    """
    metrics = results['metrics']
    heads = [f'{name} {"↑" if meta["higher_is_better"] else "↓"}' for name, meta in metrics.items()]
    lines = [['explainer', *heads, 'seconds', 'episodes', 'empty'], ['---'] + ['---:'] * (len(heads) + 3)]
    best = {name: _best(results, name) for name in metrics}
    for explainer, scores in results['scores'].items():
        cells = [_cell(scores[name], explainer in best[name], digits=1 if meta['percent'] else 4)
                 for name, meta in metrics.items()]
        lines.append([explainer, *cells, table_figure(results['seconds'][explainer], '.3g'),
                      str(results['num_explained']), str(len(results['empty']))])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return f'{table}\n\n{_remarks(results)}\n'


def _best(results: Results, metric: str) -> list[str]:
    values = {name: scores[metric]['value'] for name, scores in results['scores'].items()}
    values = {name: value for name, value in values.items() if value is not None and value == value}
    if len(values) < 2:
        return []
    best = (max if results['metrics'][metric]['higher_is_better'] else min)(values.values())
    return [name for name, value in values.items() if value == best]


def _cell(score: Mapping[str, Any], best: bool, digits: int) -> str:
    value, interval = score['value'], score['interval']
    if value is None or value != value:
        return '-'
    # Adding 0 turns -0 into 0.
    value, low, high = (f'{round(number, digits) + 0:.{digits}f}' for number in (value, *(interval or (nan, nan))))
    text = f'**{value}**' if best else value
    return text if interval is None else f'{text} ({low} to {high})'


def _remarks(results: Results) -> str:
    """Write the notes below the table."""
    episodes = results['episodes']
    what = '{num_ways}-way {num_shots}-shot, {dataset_name} fold {fold}: '.format(**episodes) if episodes else ''
    iou = '' if results['mean_iou'] is None else f', mean IoU of an episode {100 * results["mean_iou"]:.1f} %'
    said = [
        f'{what}{results["num_episodes"]} episodes{iou}. Explained: the region "{results["region"]}".',
        f'{_units(results["metrics"])}; in brackets the 95 % bootstrap interval over episodes. Better is up (↑) or '
        'down (↓).',
        f'Seconds: median of an explanation on {results["device"]}, its own predictions included; one prediction takes '
        f'{table_figure(results["prediction_seconds"], ".3g")}.',
    ]
    said += _settings(results)
    own = next((x['own_shares'] for x in results.get('contributions', {}).values() if 'own_shares' in x), None)
    if own is not None:
        said.append('Attention that the region keeps to the query itself, per cent by layer: '
                    f'{", ".join(f"{100 * share:.0f}" for share in own)}.')
    # Episodes and figures that are missing
    if results['empty']:
        indices = [str(item['index']) for item in results['empty']]
        said.append(f'Nothing to explain in {len(indices)} episode(s): {", ".join(indices[:10])}'
                    f'{", ..." if len(indices) > 10 else ""}.')
    said += [f'{metric} of {name} has no value in {score["num_nan"]} episode(s).'
             for name, scores in results['scores'].items() for metric, score in scores.items()
             if score['num_nan']]
    return '\n'.join(said)


def _settings(results: Results) -> list[str]:
    """Write what was explained other than by default: sharpened affinities, differentiable forms."""
    configs, forms = results['explainers'], results['forms']
    values = [f'{config["temperature"]:g} ({name})' for name, config in configs.items() if 'temperature' in config]
    said = [f'Temperature of the affinities: {", ".join(values)}.'] if values else []
    for form in dict.fromkeys(forms.values()):
        names = ', '.join(name for name, other in forms.items() if other == form)
        said.append(f'The decisions of the model have no gradient: {names} explained its {form}.')
    return said


def _units(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    plain = [name for name, meta in metrics.items() if not meta['percent']]
    return 'Per cent' + (f' (not {", ".join(plain)})' if plain else '')


def _write_csv(path: Path, records: Sequence[Record], results: Results) -> None:
    """Write one row per episode and explainer."""
    metrics = list(results['metrics'])
    with atomic_path(path) as temporary, open(
            temporary, 'w', newline='', encoding='utf-8', errors='backslashreplace') as file:
        writer = csv.writer(file)
        writer.writerow(['episode', 'classes', 'query', 'empty', 'iou', 'explainer', 'seconds', *metrics])
        for record in records:
            info = record['info']
            episode = [record['index'], '; '.join(info.get('class_names', [])), info.get('query_name'),
                       int(record['empty']), record['iou']]
            for name in results['scores']:
                values = [record['scores'].get(metric, {}).get(name, {}).get('value') for metric in metrics]
                writer.writerow([*episode, name, record['seconds'].get(name), *values])
