"""Files of a studied prediction: masks, attributions, scores, and the lines of Python that reproduce them."""
import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pprint import pformat
from typing import Any, Mapping, Optional, Sequence

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.visualization import class_palette
from .query_study import Explained, QueryStudy

README = """query.png          the picture, as the page used it
supports/          the examples and their masks (1 object, 0 background), by number of class and support
mask.png           the segmentation: the palette indices are the labels, 0 background
coco.json          the segmentation as COCO annotations (run lengths)
attributions.npz   <explainer>/<class>/<support>: the attribution of each support pixel, float32
scores.csv         what was measured
reproduce.py       writes mask.png again, as reproduced.png, and the attributions
"""


@dataclass(frozen=True)
class ModelSource:
    """Say where a model comes from.

    Attributes:
        config (str): Config file, or name in the model zoo.
        checkpoint (str, optional): Checkpoint, unless the model needs none.
    """
    config: str
    checkpoint: Optional[str] = None


def mask_png(labels: np.ndarray, num_classes: int) -> bytes:
    """Write labels (H, W) as a palette PNG whose indices are the labels."""
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(class_palette(num_classes).flatten().tolist())
    return _png(picture)


def coco_json(study: QueryStudy, file_name: str = 'query.png') -> dict[str, Any]:
    """Describe a prediction as a COCO file: one annotation of each predicted class, as run lengths."""
    height, width = study.mask.shape
    annotations = []
    for number, _ in enumerate(study.support.class_names, start=1):
        binary = np.asfortranarray((study.mask == number).astype(np.uint8))
        if not binary.any():
            continue
        lengths = coco_mask.encode(binary)
        annotations.append(dict(
            id=len(annotations) + 1, image_id=1, category_id=number, iscrowd=0, area=int(coco_mask.area(lengths)),
            bbox=coco_mask.toBbox(lengths).tolist(),
            segmentation=dict(size=[height, width], counts=lengths['counts'].decode('ascii'))))
    return dict(
        images=[dict(id=1, file_name=file_name, width=width, height=height)],
        annotations=annotations,
        categories=[dict(id=number, name=name) for number, name in enumerate(study.support.class_names, start=1)])


def attributions_npz(study: QueryStudy, explained: Sequence[Explained]) -> bytes:
    """Write attributions as npz, by ``<explainer>/<class>/<support from 1>``."""
    arrays = {
        f'{one.name}/{name}/{number}': array
        for one in explained for name, way in zip(study.support.class_names, one.result['attributions']) if way
        for number, array in enumerate(way, start=1)
    }
    return _bytes_of(np.savez_compressed, **arrays)


def scores_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write scores as CSV with the columns class, explainer, score, value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ['class', 'explainer', 'score', 'value'], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def prediction_rows(study: QueryStudy) -> list[dict[str, Any]]:
    """List what is known of each class: the share of the query, the IoU, the presence score."""
    rows = []
    iou, presence = study.iou(), study.result.get('presence')
    for way, name in enumerate(study.support.class_names):
        scores = dict(area=float((study.mask == way + 1).mean()))
        if iou is not None:
            scores['IoU'] = iou[way]
        if presence is not None:
            scores['presence'] = presence[way]
        rows += [{'class': name, 'explainer': '', 'score': key, 'value': value} for key, value in scores.items()]
    return rows


def script(study: QueryStudy, source: ModelSource, explained: Sequence[Explained] = ()) -> str:
    """Write the lines of Python that reproduce a prediction and its explanations from the files of :func:`study_zip`.

    Regions that were given as arrays are read from ``region_<number>.npy``.
    """
    support = {
        name: [(f'supports/{way}_{shot}.png', f'supports/{way}_{shot}_mask.png')
               for shot in range(1, len(shots) + 1)]
        for way, (name, shots) in enumerate(zip(study.support.class_names, study.support.shots), start=1)
    }
    explanations = []
    for number, one in enumerate(explained, start=1):
        region = f"np.load('region_{number}.npy')" if _stored_region(study, one) is not None else repr(one.region)
        explanations.append(f'    ({one.config!r}, {region}),\n')
    return f'''"""Reproduce the segmentation and its explanations; run it in the folder of the files."""
import numpy as np
from PIL import Image

from mmfss.apis import FewShotInferencer, init_model

model = init_model({source.config!r}, {source.checkpoint!r}, cfg_options={{'model.threshold': {study.threshold!r}}})
inferencer = FewShotInferencer(model, ignore_value=255)
support = inferencer.encode_support({pformat(support, width=110, sort_dicts=False)})
mask = inferencer.predict('query.png', support)['mask']
Image.fromarray(mask).save('reproduced.png')

explanations = [
{''.join(explanations)}]
for explain, region in explanations:
    result = inferencer.predict('query.png', support, explain=explain, region=region)
    print(result['explainer'], result['support_shares'])
'''


def study_zip(study: QueryStudy, source: ModelSource, explained: Sequence[Explained] = (),
              rows: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """Pack everything that a page shows of a prediction.

    Args:
        study (QueryStudy): The prediction.
        source (ModelSource): Where the model comes from.
        explained (Sequence[Explained]): Its explanations.
        rows (Sequence[Mapping]): Further scores, see :func:`scores_csv`.

    Returns:
        bytes: A ZIP file.
    """
    buffer = io.BytesIO()
    rgb = not study.inferencer.bgr
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('README.txt', README)
        file.writestr('query.png', png_bytes(study.query if rgb else _reversed(study.query)))
        for way, shots in enumerate(study.support.shots, start=1):
            for number, shot in enumerate(shots, start=1):
                file.writestr(f'supports/{way}_{number}.png', png_bytes(_reversed(shot.image)))
                file.writestr(f'supports/{way}_{number}_mask.png', png_bytes(shot.mask))
        file.writestr('mask.png', mask_png(study.mask, len(study.support.class_names)))
        file.writestr('coco.json', json.dumps(coco_json(study)))
        file.writestr('scores.csv', scores_csv([*prediction_rows(study), *rows]))
        file.writestr('reproduce.py', script(study, source, explained))
        for number, one in enumerate(explained, start=1):
            stored = _stored_region(study, one)
            if stored is not None:
                file.writestr(f'region_{number}.npy', _bytes_of(np.save, stored))
        if explained:
            file.writestr('attributions.npz', attributions_npz(study, explained))
    return buffer.getvalue()


def _stored_region(study: QueryStudy, explained: Explained) -> Optional[np.ndarray]:
    """Return the region as an array if it has no form in words."""
    if isinstance(explained.region, np.ndarray):
        return explained.region.astype(bool)
    if str(explained.region) == 'ground_truth' and study.target is not None:
        return study.target == np.arange(1, len(study.support.class_names) + 1)[:, None, None]
    return None


def _bytes_of(save: Any, *args: Any, **kwargs: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *args, **kwargs)
    return buffer.getvalue()


def _reversed(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1])


def png_bytes(picture: np.ndarray) -> bytes:
    """Write a picture (H, W, 3) RGB or (H, W) grey as PNG."""
    return _png(Image.fromarray(picture))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format='PNG')
    return buffer.getvalue()
