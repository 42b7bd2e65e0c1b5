"""Writing of standalone models as ONNX or as programs of ``torch.export``, and their check."""
import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Union

import torch
from torch import Tensor

from mmfss.apis import FewShotInferencer
from mmfss.utils.files import atomic_path, write_text
from .script import script_path, script_text
from .standalone import StandaloneModel

OPSET = 18
"""Version of ONNX's operators."""
FORMATS = ('.onnx', '.pt2')
MOST_IMAGES = 4
"""Images that a written file is checked with."""
LEAST_EQUAL = 0.9999
"""Share of mask pixels that must be equal."""
TIE = 1e-5
"""Lead of a label, in parts of the largest logit, that rounding may turn round: on edges of a resized binary map."""

Runner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ExportReport:
    """Say what was written, and how it compares with PyTorch.

    Attributes:
        path (Path): The model.
        script (Path): A script that runs it on a picture.
        metadata (dict): What the file says of itself, see :meth:`StandaloneModel.metadata`.
        num_images (int): Images that were compared: the supports, and their mirror images.
        largest_difference (float): Largest difference of a logit.
        equal_pixels (float): Share of mask pixels that are equal, 0..1.
        whole_model (float, optional): Share of mask pixels that equal those of the whole model, where the file holds
            another form of it.
    """
    path: Path
    script: Path
    metadata: dict[str, Any]
    num_images: int
    largest_difference: float
    equal_pixels: float
    whole_model: Optional[float] = None


@torch.no_grad()
def export_model(inferencer: FewShotInferencer,
                 path: Union[str, Path],
                 opset: int = OPSET,
                 tolerance: float = 1e-3) -> ExportReport:
    """Write a few-shot model and its supports as one ordinary segmentation model.

    The file takes normalized images (B, 3, H, W) by the name ``images``, any number B of one size, and returns
    ``logits`` (B, N+1, H, W); the largest is the label, 0 background. The threshold of the model is part of them. Size,
    normalization, classes and threshold are in the metadata of the file, each as JSON. A script that runs it on a
    picture, without this package, is written beside it. The written file is run and compared with PyTorch.

    Args:
        inferencer (FewShotInferencer): Model on the CPU, and its support set.
        path (str | Path): The file: ``.onnx``, or ``.pt2`` for a program of ``torch.export``.
        opset (int): Version of ONNX's operators. Defaults to 18.
        tolerance (float): Largest allowed difference of a logit. Defaults to 1e-3.

    Returns:
        ExportReport: Files and differences.

    Raises:
        ImportError: If a package is missing; the message says what installs it.
        ValueError: If the suffix is unknown, the model cannot be exported, or the file gives other results than
            PyTorch; then no file is left.

    Example:
        >>> import numpy as np
        >>> from mmfss.apis import FewShotInferencer
        >>> from mmfss.deployment import export_model
        >>> inferencer = FewShotInferencer(device='cpu')  # doctest: +SKIP
        >>> _ = inferencer.set_support([('cup.jpg', 'cup_mask.png')])  # doctest: +SKIP
        >>> export_model(inferencer, 'cups.onnx').largest_difference < 1e-3  # doctest: +SKIP
        True
    """
    path = Path(path)
    check_format(path)
    model = StandaloneModel(inferencer)
    images = check_images(model, inferencer)
    metadata = model.metadata()
    # Run first: what is made at the first run, such as tables of positions, is no part of the graph.
    expected = torch.cat([model(image[None]) for image in images])
    program = trace(model)
    script = script_path(path)
    with atomic_path(path) as temporary:
        if path.suffix == '.onnx':
            metadata['opset'] = opset
            write_onnx(program, temporary, metadata, opset)
            run = onnx_runner(temporary)
        else:
            write_program(program, temporary, metadata)
            run = program_runner(temporary)
        difference, equal = compare(run, images, expected)
        if not (difference <= tolerance and equal >= LEAST_EQUAL):
            raise ValueError(f'The exported model differs from PyTorch: logits by up to {difference:.2g} (allowed '
                             f'{tolerance:g}), {100 * equal:.3f} % of the mask pixels are equal (needed '
                             f'{100 * LEAST_EQUAL:g} %). "{path}" was not written.')
    write_text(script_text(path, metadata), script)
    whole = None
    if model.form is not None:
        support = inferencer.support
        logits = torch.cat([inferencer.model.match(inferencer.model.extract_feat(image[None]), support.encoding,
                                                   model.size) for image in images])
        whole = equal_share(logits[:, :expected.shape[1]], expected)
    return ExportReport(path, script, metadata, len(images), difference, equal, whole)


def check_format(path: Path) -> None:
    """Check that a file of this name can be written.

    Raises:
        ImportError: If a package is missing.
        ValueError: If the suffix is unknown.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f'The suffix of "{path}" chooses the format: {" or ".join(FORMATS)}.')
    if path.suffix == '.onnx':
        try:
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError(f'Writing and checking ONNX needs the package "{error.name}", which is not installed: '
                              'pip install "mmfss[export]"') from error


def check_images(model: StandaloneModel, inferencer: FewShotInferencer) -> Tensor:
    """Return the first supports and their mirror images, normalized, at least two."""
    shots = [shot.network_image for shots in inferencer.support.shots for shot in shots][:MOST_IMAGES // 2]
    images = model.normalize(shots)
    return torch.cat((images, images.flip(-1)))


def trace(model: StandaloneModel) -> torch.export.ExportedProgram:
    """Record the computation for any number of images.

    Raises:
        ValueError: If the model does something that no graph can hold.
    """
    example = torch.zeros(2, 3, *model.size)
    shapes = dict(images={0: torch.export.Dim('batch', min=1)})
    try:
        with _quiet():
            return torch.export.export(model, (example, ), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # PyTorch raises many kinds.
        raise ValueError(f'{model.metadata()["model"]} cannot be exported: {_reason(error)}') from error


def write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any], opset: int) -> None:
    """Write a program as ONNX.

    Raises:
        ValueError: If ONNX has no operator for something in it.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    try:
        with _quiet():
            # Not optimized here, which would take longer than all else: runtimes do so on loading.
            onnx = torch.onnx.export(program, (), input_names=['images'], output_names=['logits'], opset_version=opset,
                                     dynamo=True, optimize=False, verbose=False)
            RemoveUnusedNodesPass()(onnx.model)
    except Exception as error:  # of PyTorch, onnxscript and ONNX
        raise ValueError(f'The model cannot be written as ONNX {opset}: {_reason(error)}') from error
    onnx.model.metadata_props.clear()
    onnx.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    onnx.save(str(path), external_data=False)


def write_program(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]) -> None:
    """Write a program of ``torch.export``, with its metadata as the extra file ``metadata.json``."""
    torch.export.save(program, path, extra_files={'metadata.json': json.dumps(metadata)})


def onnx_runner(path: Path) -> Runner:
    """Load an ONNX file on the CPU, with as many threads as PyTorch.

    Raises:
        ValueError: If ONNX Runtime lacks an operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # of ONNX Runtime
        raise ValueError(f'ONNX Runtime cannot run the exported model: {_reason(error)}') from error
    return lambda images: torch.from_numpy(session.run(None, {'images': images.numpy()})[0])


def program_runner(path: Path) -> Runner:
    """Load a program of ``torch.export``."""
    return torch.export.load(path).module()


def compare(run: Runner, images: Tensor, expected: Tensor) -> tuple[float, float]:
    """Compare logits of a written model with PyTorch's, one image alone and the others together.

    Returns:
        tuple[float, float]: Largest difference, and share of equal mask pixels.
    """
    logits = torch.cat((run(images[:1]), run(images[1:])))
    return float((logits - expected).abs().max()), equal_share(logits, expected)


def equal_share(logits: Tensor, others: Tensor) -> float:
    """Return the share of pixels to which logits (B, N+1, H, W) give one label, or of which ``others`` are a tie."""
    first, second = others.topk(2, dim=1).values.unbind(1)
    tie = first - second < TIE * others.abs().amax()
    return float(((logits.argmax(1) == others.argmax(1)) | tie).float().mean())


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporters say of their own insides."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir', 'torch.export')]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
