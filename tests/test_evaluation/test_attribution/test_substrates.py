import torch

from mmfss.evaluation.attribution import Substrate
from mmfss.structures import Episode


def episode() -> Episode:
    support, masks = torch.zeros(1, 2, 3, 32, 40), torch.zeros(1, 2, 32, 40)
    support[0, 0, 1, 16, 20] = 1
    masks[0, 0, 16, 20] = 1
    return Episode(torch.zeros(3, 32, 40), support, masks)


def test_zero() -> None:
    images, masks = Substrate.of('zero')(episode())
    assert images.shape == (1, 2, 3, 32, 40) and masks.shape == (1, 2, 32, 40)
    assert not images.any() and not masks.any()


def test_random_is_uniform_and_repeatable() -> None:
    state = torch.get_rng_state()
    images, masks = Substrate.of('random')(episode())
    for values in (images, masks):
        assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.02
    assert torch.equal(images, Substrate('random', seed=0)(episode())[0])
    assert not torch.equal(images, Substrate.of(dict(kind='random', seed=1))(episode())[0])
    assert torch.equal(state, torch.get_rng_state())


def test_blur_spreads_over_rows_and_columns_of_one_image() -> None:
    images, masks = Substrate.of(dict(kind='blur', kernel_size=7, sigma=2.))(episode())
    weights = torch.exp(-torch.arange(-3, 4)**2 / 8)
    kernel = torch.outer(weights, weights) / weights.sum()**2
    for blurred in (images[0, 0, 1], masks[0, 0]):
        torch.testing.assert_close(blurred[13:20, 17:24], kernel)
        torch.testing.assert_close(blurred.sum(), torch.tensor(1.))
    # Neither another channel nor another support.
    assert not images[0, 0, ::2].any() and not images[0, 1].any() and not masks[0, 1].any()


def test_two_names_of_the_blur() -> None:
    for first, second in zip(Substrate('blur')(episode()), Substrate('gaussian')(episode())):
        assert torch.equal(first, second)
