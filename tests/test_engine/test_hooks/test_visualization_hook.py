from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

from mmfss.engine.hooks.visualization_hook import EpisodeVisualizationHook
from mmfss.structures import EpisodeDataSample


def make_batch(indices: list[int]) -> tuple[dict, list[EpisodeDataSample]]:
    samples = []
    for index in indices:
        sample = EpisodeDataSample(metainfo=dict(
            episode_index=index, class_ids=[3], class_names=['potted plant'], query_name=f'val2014/a_{index}.jpg'))
        labels = torch.zeros(1, 200, 200, dtype=torch.long)
        labels[:, 50:100, 50:100] = 1
        sample.gt_sem_seg, sample.pred_sem_seg = PixelData(data=labels), PixelData(data=labels)
        sample.support_sem_seg = labels[None].to(torch.uint8)
        samples.append(sample)
    blue = torch.zeros(3, 200, 200, dtype=torch.uint8)
    blue[0] = 255
    return dict(inputs=dict(query=[blue] * len(indices), support=[blue[None, None]] * len(indices))), samples


class TestEpisodeVisualizationHook:

    def test_choice_is_a_function_of_the_index(self, tmp_path: Path) -> None:
        hook = EpisodeVisualizationHook(out_dir=str(tmp_path), max_episodes=2, interval=3)
        for batch in ([0, 1, 2, 3], [4, 5, 6]):
            hook.after_test_iter(None, 0, *make_batch(batch))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ['00000_potted-plant-a-0.png', '00003_potted-plant-a-3.png']

    def test_picture(self, tmp_path: Path) -> None:
        hook = EpisodeVisualizationHook()
        hook.after_test_iter(SimpleNamespace(work_dir=tmp_path), 0, *make_batch([0]))
        picture, = (tmp_path / 'episodes').iterdir()
        panel = np.asarray(Image.open(picture))
        # Three tiles under captions; the images are BGR, so what is blue must be blue in the picture.
        assert panel.shape == (8 + 22 + 200 + 8, 3 * 208 + 8, 3)
        assert panel[40, 20].tolist() == [0, 0, 255]
        assert panel[30 + 75, 8 + 75].tolist() != [0, 0, 255]

    def test_validation(self, tmp_path: Path) -> None:
        runner = SimpleNamespace(work_dir=tmp_path, iter=40)
        batch = make_batch([0])
        EpisodeVisualizationHook().after_val_iter(runner, 0, *batch)
        assert not list(tmp_path.iterdir())
        EpisodeVisualizationHook(draw_val=True).after_val_iter(runner, 0, *batch)
        assert [path.name for path in (tmp_path / 'episodes').iterdir()] == ['val_40']

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match='max_episodes'):
            EpisodeVisualizationHook(max_episodes=-1)
        with pytest.raises(ValueError, match='interval'):
            EpisodeVisualizationHook(interval=0)
