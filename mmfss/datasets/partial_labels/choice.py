"""Choice of the images that keep their mask, so that the classes are balanced as asked for (Yu et al., 2024)."""
import numpy as np


def mixed_distribution(labels: np.ndarray, uniform: float) -> np.ndarray:
    """Mix the classes' share of all labels with the uniform distribution.

    Args:
        labels (np.ndarray): 1 for the classes of each image, shape (n, C).
        uniform (float): 0 (the data's distribution) to 1 (uniform).

    Returns:
        np.ndarray: Shape (C,), sum 1.
    """
    counts = labels.sum(0)
    return uniform / labels.shape[1] + (1 - uniform) * counts / counts.sum()


def choose_masked(labels: np.ndarray, number: int, uniform: float = 0.0, seed: int = 0) -> list[int]:
    """Choose images one by one, each among those of the class that is most wanted.

    Args:
        labels (np.ndarray): 1 for the classes of each image, without the background, shape (n, C).
        number (int): How many. Fewer are returned if the images of the most wanted class are used up (a property of the
            published procedure).
        uniform (float): See :func:`mixed_distribution`.
        seed (int): Seed of the choice.

    Returns:
        list[int]: Indices in the order drawn, a function of the arguments alone.

    Example:
        >>> import numpy as np
        >>> from mmfss.datasets import choose_masked
        >>> choose_masked(np.array([[1, 0], [1, 0], [1, 0], [0, 1]]), number=2, uniform=1.0)[-1]
        3
    """
    labels = np.asarray(labels, dtype=np.float64)
    target = mixed_distribution(labels, uniform)
    rng = np.random.RandomState(seed)
    remaining, chosen = list(range(len(labels))), []
    counts, total = np.zeros(labels.shape[1]), float(number)
    for _ in range(number):
        wanted = np.maximum(target * total - counts, 0)
        share = wanted / wanted.sum()
        rows = labels[remaining]
        # An image is worth as much as the least wanted of its classes.
        weights = np.where(rows > 0, share, np.inf).min(1)
        weights[~np.isfinite(weights)] = 0
        weights *= rows[:, share.argmax()] > 0
        if weights.sum() <= 1e-6:
            continue
        drawn = int(rng.choice(remaining, 1, p=weights / weights.sum())[0])
        remaining.remove(drawn)
        chosen.append(drawn)
        counts += labels[drawn]
        total += labels[drawn].sum() - 1
    return chosen
