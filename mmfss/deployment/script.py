"""The script beside an exported model, which runs it on a picture without this package."""
from pathlib import Path
from typing import Any

_LOAD = {
    '.onnx': """\
session = onnxruntime.InferenceSession(Path(__file__).with_name({name!r}))
about = {{key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}}
""",
    '.pt2': """\
extra = {{'metadata.json': ''}}
model = torch.export.load(Path(__file__).with_name({name!r}), extra_files=extra).module()
about = json.loads(extra['metadata.json'])
""",
}
_RUN = {
    '.onnx': "session.run(None, {'images': image[None]})[0][0]",
    '.pt2': 'model(torch.from_numpy(image[None]))[0].detach().numpy()',
}
_PACKAGE = {'.onnx': 'onnxruntime', '.pt2': 'torch'}
# Coordinates of m pixels in n, with and without aligned corners.
_PLACES = {
    True: 'np.linspace(0, n - 1, m)',
    False: 'np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)',
}
_SCRIPT = """\
# Segment a picture: python {script} PICTURE MASK.png (labels 0 to {last}). Needs {package}, numpy and pillow.
import json
import sys
from pathlib import Path

import numpy as np
import {package}
from PIL import Image, ImageOps


def bilinear(n, m):  # matrix that resizes n pixels to m
    places = {places}
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(n))).astype(np.float32)


{load}
picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert('RGB')
pixels = np.asarray(picture.resize(about['size'][::-1], Image.BILINEAR), np.float32){order}
image = ((pixels - np.float32(about['mean'])) / np.float32(about['std'])).transpose(2, 0, 1)
logits = {run}
logits = bilinear(logits.shape[1], picture.height) @ logits @ bilinear(logits.shape[2], picture.width).T
mask = logits.argmax(0).astype(np.uint8)
Image.fromarray(mask).save(sys.argv[2])
print({{name: round(float((mask == label).mean()), 4) for label, name in enumerate(about['classes'])}})
"""


def script_path(path: Path) -> Path:
    """Return the name of the script beside a model."""
    return path.with_name(f'{path.stem}_segment.py')


def script_text(path: Path, metadata: dict[str, Any]) -> str:
    """Write the script of a model.

    Args:
        path (Path): The model; the script looks for it in its own folder.
        metadata (dict): See :meth:`StandaloneModel.metadata`.

    Returns:
        str: The script.
    """
    return _SCRIPT.format(
        script=script_path(path).name, last=len(metadata['classes']) - 1, package=_PACKAGE[path.suffix],
        places=_PLACES[metadata['align_corners']], load=_LOAD[path.suffix].format(name=path.name),
        order='' if metadata['channels'] == 'RGB' else '[..., ::-1]', run=_RUN[path.suffix])
