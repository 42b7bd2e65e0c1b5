import torch

from mmfss.datasets.picture_statistics import FEWEST, picture_statistics, unlike_training


def textures(number: int, seed: int, brightness: float = 100.) -> list[torch.Tensor]:
    """Noise around a gray level that differs between pictures."""
    generator = torch.Generator().manual_seed(seed)
    levels = brightness + 20 * torch.randn(number, generator=generator)
    return [(level + 10 * torch.randn(3, 24, 32, generator=generator)).clamp(0, 255) for level in levels]


def test_statistics() -> None:
    picture = torch.zeros(3, 2, 4)
    picture[0, :, 2:] = 255
    statistics = picture_statistics(picture)
    # Of six horizontal and four vertical pairs of neighbors, two differ, by a third of 255 gray levels.
    # At a distance of two, all four pairs differ; there is no larger one.
    detail = torch.tensor([2 * 85 / 10, 85, 0, 0]).log1p().tolist()
    torch.testing.assert_close(statistics, torch.tensor([0.5, 0, 0, 0.5, 0, 0, *detail, 0.8]))


def test_pictures_of_the_kind_and_others() -> None:
    known = torch.stack([picture_statistics(picture) for picture in textures(200, 0)])
    assert sum(unlike_training(known, textures(100, 1))) <= 5
    assert all(unlike_training(known, textures(20, 2, brightness=220.)))
    flat = [torch.full((3, 24, 32), 100.)]
    assert unlike_training(known, flat) == [True]


def test_equal_training_pictures() -> None:
    known = picture_statistics(torch.full((3, 8, 8), 50.)).expand(FEWEST, -1)
    assert unlike_training(known, [torch.full((3, 8, 8), 50.), torch.full((3, 8, 8), 150.)]) == [False, True]


def test_too_few_to_judge() -> None:
    known = picture_statistics(torch.full((3, 8, 8), 50.)).expand(FEWEST - 1, -1)
    assert unlike_training(known, [torch.full((3, 8, 8), 150.)]) == [False]
