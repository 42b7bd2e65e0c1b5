"""What the names of configs and models say."""
import re
from typing import Optional, Tuple


def split_shots(name: str) -> Tuple[str, Optional[int]]:
    """Split the name of a config or model into its base and the number of shots at its end.

    Args:
        name (str): The name, without suffix.

    Returns:
        tuple: The base, and the number; None without one.

    Example:
        >>> split_shots('swinb_coco20i_fold0_5shot')
        ('swinb_coco20i_fold0', 5)
        >>> split_shots('swinb_coco20i_fold0')
        ('swinb_coco20i_fold0', None)
    """
    match = re.fullmatch(r'(.+)_(\d+)shot', name)
    return (match[1], int(match[2])) if match else (name, None)
