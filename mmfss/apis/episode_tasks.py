"""Episodes of a dataset as pictures at their original sizes."""
from typing import Optional

import numpy as np

from mmfss.datasets import LoadClassMask, LoadEpisodeImage
from mmfss.registry import DATASETS, register_all_modules
from mmfss.utils.config import load_config, set_episodes
from mmfss.utils.config_options import ConfigError
from .example_pictures import SegmentationTask
from .model_zoo import find_config


class EpisodeSource:
    """Give the test episodes of a config, for any number of ways and shots.

    Args:
        config (str): Config file, or name in the model zoo.
        num_ways (int): N.
        num_shots (int): K.
        seed (int): Seed of the episodes.
        class_name (str, optional): Query and supports show this class alone; all tested classes by default.

    Raises:
        ConfigError: If the config has no test episodes, or there is no such class.
        ValueError: If classes have too few images.
    """

    def __init__(self, config: str, num_ways: int = 1, num_shots: int = 1, seed: int = 0,
                 class_name: Optional[str] = None) -> None:
        register_all_modules(init_default_scope=True)
        cfg = load_config(find_config(config))
        set_episodes(cfg, num_shots=num_shots, num_ways=num_ways, num_episodes=None, seed=seed)
        if 'test_dataloader' not in cfg or 'pipeline' not in cfg.test_dataloader.dataset:
            raise ConfigError(f'The config "{config}" has no test episodes (test_dataloader.dataset).')
        options = dict(cfg.test_dataloader.dataset)
        if class_name is not None:
            options.update(class_ids=[class_name])
        self.dataset = DATASETS.build(options)
        if not hasattr(self.dataset, 'get_data_info'):
            raise ConfigError(f'The test data of "{config}" are no episodes.')
        self.class_name = class_name

    @property
    def class_names(self) -> list[str]:
        """Names of the tested classes."""
        return [self.dataset.index.classes[number] for number in self.dataset.sampler.class_ids]

    def __len__(self) -> int:
        return len(self.dataset)

    def task(self, index: int) -> SegmentationTask:
        """Load an episode.

        Args:
            index (int): Its number.

        Raises:
            FileNotFoundError, ValueError: If a file is missing or faulty.
        """
        info = self.dataset.get_data_info(index)
        query, target = self._load(info['query'])
        support = {
            name: [self._load(shot) for shot in shots]
            for name, shots in zip(info['class_names'], info['support'])
        }
        return SegmentationTask(query, support, target, source=f'episode {index}, query {info["query"]["name"]}')

    @staticmethod
    def _load(info: dict) -> tuple[np.ndarray, np.ndarray]:
        results = LoadClassMask()(LoadEpisodeImage()(dict(info)))
        return np.ascontiguousarray(results['img'][..., ::-1]), results['gt_seg_map']
