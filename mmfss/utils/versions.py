"""Versions of the packages that a result depends on."""
import sys
from typing import Dict

import cv2
import mmcv
import mmengine
import mmseg
import numpy as np
import torch

from mmfss.version import __version__


def versions() -> Dict[str, str]:
    """dict: Names and versions of the packages on which results depend."""
    return dict(
        mmfss=__version__, mmsegmentation=mmseg.__version__, mmengine=mmengine.__version__, mmcv=mmcv.__version__,
        torch=torch.__version__, numpy=np.__version__, opencv=cv2.__version__,
        python='.'.join(map(str, sys.version_info[:3])))
