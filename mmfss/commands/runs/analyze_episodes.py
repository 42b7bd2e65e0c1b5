"""Work of :mod:`mmfss.commands.analyze_episodes`."""
import argparse
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from PIL import Image

from mmfss.apis import FewShotInferencer
from mmfss.apis.episode_tasks import EpisodeSource
from mmfss.evaluation.episode_table import EpisodeRow, best_episodes, read_episodes, worst_episodes
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_writable, write_text
from mmfss.visualization import caption_image, overlay_mask, tile_images
from mmfss.visualization.episode_charts import draw_iou_by_class, draw_iou_by_size

_SIDE = 224


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    rows = read_episodes(args.episodes)
    known = best_episodes(rows, len(rows))
    if not known:
        raise ConfigError(f'{args.episodes} has no episode with an IoU.')
    out = args.out or args.episodes.parent / 'analysis'
    check_writable(out, 'folder', '--out')
    # Charts
    for name, picture in (('iou_by_class.png', draw_iou_by_class(known)), ('iou_by_size.png', draw_iou_by_size(known))):
        _save(picture, out / name)
    # Page of the best and the worst
    inferencer = None
    if args.checkpoint:
        checkpoint = None if args.checkpoint == 'none' else args.checkpoint
        inferencer = FewShotInferencer(args.config, checkpoint, args.device, bgr=False)
    parts = []
    source_of = lru_cache(lambda ways, shots, seed: EpisodeSource(str(args.config), ways, shots, seed))
    for title, chosen in (('Worst', worst_episodes(rows, args.count)), ('Best', best_episodes(rows, args.count))):
        parts.append(f'<h2>{title} episodes</h2>')
        for row in chosen:
            picture = None
            if args.config is not None:
                picture = f'episode_{row.index:06d}_{rows.index(row)}.jpg'
                _save(draw_episode_row(row, source_of(row.ways, row.shots, row.seed), inferencer), out / picture)
            parts.append(_section(row, picture))
    write_text(_page(args.episodes, known, parts), out / 'index.html')
    print(f'{len(known)} rows, mean IoU {100 * np.mean([row.iou for row in known]):.1f}; see {out / "index.html"}')


def draw_episode_row(row: EpisodeRow, source: EpisodeSource, inferencer: Optional[FewShotInferencer]) -> np.ndarray:
    """Draw query with truth, prediction (of a model, if there is one) and supports of an episode, RGB.

    Raises:
        ConfigError: If the config has another episode of this number than the test had.
    """
    task = source.task(row.index)
    if row.class_name not in task.support or f'query {row.query}' not in task.source:
        raise ConfigError(f'Episode {row.index} of the config is not the tested one ({row.class_name}, query '
                          f'{row.query}): give the config of the test, with the same data.')
    way = list(task.support).index(row.class_name) + 1
    ignored = task.target == 255
    tiles = [caption_image(_small(task.query, np.where(ignored, 255, (task.target == way) * way)), 'truth')]
    if inferencer is not None:
        mask = inferencer.predict(task.query, support=inferencer.encode_support(task.support))['mask']
        tiles.append(caption_image(_small(task.query, (mask == way) * way), 'prediction'))
    for number, (picture, mask) in enumerate(task.support[row.class_name], start=1):
        tiles.append(caption_image(_small(picture, np.where(mask == 1, way, mask)), f'support {number}'))
    return tile_images([tiles])


def _small(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    drawn = Image.fromarray(overlay_mask(picture, labels))
    drawn.thumbnail((_SIDE, _SIDE))
    return np.asarray(drawn)


def _save(picture: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)


def _section(row: EpisodeRow, picture: Optional[str]) -> str:
    presence = '' if row.presence is None else f', presence {row.presence:.2f}'
    image = '' if picture is None else f'<img src="{escape(picture)}" alt="episode {row.index}">'
    return (f'<section><h3>Episode {row.index}: {escape(row.class_name)}, IoU {100 * row.iou:.1f}</h3><p>query '
            f'{escape(row.query)}, object {100 * row.object_size:.1f} % of the picture{presence}</p>{image}</section>')


def _page(source: Path, rows: Sequence[EpisodeRow], parts: Sequence[str]) -> str:
    mean = 100 * np.mean([row.iou for row in rows])
    style = ('body{font:16px sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem}img{max-width:100%}'
             ':root{color-scheme:light dark}')
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>Episodes</title><style>{style}</style><h1>{escape(source.name)}</h1><p>{len(rows)} rows, mean of '
            f'their IoU {mean:.1f} (mIoU of the test sums pixels, and differs).</p>'
            f'<img src="iou_by_class.png" alt="IoU by class"><img src="iou_by_size.png" alt="IoU by object size">'
            f'{"".join(parts)}</html>\n')
