"""Work of :mod:`mmfss.commands.browse_episodes`."""
import argparse
from typing import Dict

import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from mmfss.datasets import EpisodicDataset
from mmfss.registry import DATASETS, register_all_modules
from mmfss.utils.config import load_config
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_writable
from mmfss.visualization import caption_image, overlay_mask, tile_images


def build_dataset(config: Config, split: str) -> EpisodicDataset:
    """The data of a loader.

    Raises:
        ConfigError: If the config has no such loader, or its data no episodes.
    """
    register_all_modules(init_default_scope=True)
    loader = config.get(f'{split}_dataloader')
    if loader is None:
        raise ConfigError(f'The config "{config.filename}" has no {split}_dataloader (--split).')
    dataset = DATASETS.build(loader.dataset)
    if not isinstance(dataset, EpisodicDataset):
        raise ConfigError(f'The {split}_dataloader of "{config.filename}" has no episodes: its dataset is a '
                          f'{type(dataset).__name__}.')
    return dataset


def draw(episode: Dict) -> np.ndarray:
    """Draw a packed episode, the query above one row of supports per class, as RGB (H, W, 3)."""
    sample = episode['data_samples']
    truth = sample.gt_sem_seg.data[0].numpy()
    query = overlay_mask(_rgb(episode['inputs']['query']), truth)
    rows = [[caption_image(query, f'query {sample.query_name}: {", ".join(sample.class_names)}')]]
    for label, (name, images, masks) in enumerate(
            zip(sample.class_names, episode['inputs']['support'], sample.support_sem_seg.numpy()), start=1):
        tiles = [overlay_mask(_rgb(image), np.where(mask == 1, label, mask)) for image, mask in zip(images, masks)]
        rows.append([caption_image(tile, f'{label} {name}: {image_name}')
                     for tile, image_name in zip(tiles, sample.support_names[label - 1])])
    return tile_images(rows)


def _rgb(image: Tensor) -> np.ndarray:
    return image.numpy()[::-1].transpose(1, 2, 0)


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_writable(args.out, 'folder', '--out')
    dataset = build_dataset(load_config(args.config, args.cfg_options), args.split)
    info = dataset.metainfo
    print(f'{info["dataset_name"]}, {args.split}: {len(dataset)} episodes, lists: {info["lists"]}')
    if args.num < 1 or not 0 <= args.start < len(dataset):
        raise ConfigError(f'--num must be 1 or more and --start an index from 0 to {len(dataset) - 1}, got '
                          f'{args.num} and {args.start}.')
    for index in range(args.start, min(args.start + args.num, len(dataset))):
        with atomic_path(args.out / f'{args.split}_{index:05d}.png') as temporary:
            Image.fromarray(draw(dataset[index])).save(temporary)
    print(f'Pictures are in {args.out}')
