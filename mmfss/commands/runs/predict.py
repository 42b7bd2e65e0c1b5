"""Work of :mod:`mmfss.commands.predict`."""
import argparse
import warnings
from typing import Any

from PIL import Image

from mmfss.apis import FewShotInferencer, find_support, init_model
from mmfss.apis.inference import NO_CHECKPOINT
from mmfss.apis.query_explanation import describe_shares
from mmfss.apis.support_checks import draw_supports, support_warnings, training_warnings
from mmfss.apis.support_set import EncodedSupport, Support
from mmfss.models import BaseFewShotSegmentor
from mmfss.utils.files import atomic_path, check_writable


def collect_support(args: argparse.Namespace) -> Support:
    """Return the examples as the inferencer takes them."""
    if args.support_dir is not None:
        return find_support(args.support_dir, args.classes)
    if args.support:
        return args.support
    classes: dict[str, list[tuple[str, str]]] = {}
    for name, image, mask in args.class_support:
        classes.setdefault(name, []).append((image, mask))
    return classes


def show_support(support: EncodedSupport, model: BaseFewShotSegmentor, args: argparse.Namespace) -> None:
    """Write ``supports.png``, and warn of masks that are probably wrong, and of pictures that the model cannot know."""
    classes = dict(zip(support.class_names, support.shots))
    path = args.out / 'supports.png'
    with atomic_path(path) as temporary:
        Image.fromarray(draw_supports(classes)).save(temporary)
    counts = ', '.join(f'{name} ({len(shots)})' for name, shots in classes.items())
    print(f'examples: {counts}, as they were read: {path}', flush=True)
    for text in support_warnings(classes) + training_warnings(getattr(model, 'trained_on', None), classes):
        warnings.warn(text, stacklevel=1)


def describe_model(model: BaseFewShotSegmentor) -> str:
    """Name the parts of a model."""
    parts = [getattr(model, name) for name in ('backbone', 'head') if hasattr(model, name)]
    return ', '.join(type(part).__name__ for part in parts or [model])


def describe(result: dict[str, Any], calibrated: bool) -> str:
    """Describe a result in a line, with advice below; a calibrated presence is a probability, else it is a score."""
    parts = [f'{100 * result["foreground_fraction"]:.1f} % foreground']
    if result['presence'] is not None:
        name = 'presence' if calibrated else 'presence score'
        parts.append(f'{name} ' + '/'.join(f'{value:.2f}' for value in result['presence']))
    if result.get('negative_fraction'):
        parts.append(f'{100 * result["negative_fraction"]:.1f} % taken away by negative references')
    parts += describe_shares(result)
    parts += [result[key] for key in ('overlay_path', 'explanation_path') if key in result]
    return '\n'.join([f'{result["query"]}: {", ".join(parts)}', *(f'  {item["text"]}' for item in result['advice'])])


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_writable(args.out, 'folder', '--out')
    support = collect_support(args)
    model = init_model(args.config, args.checkpoint or NO_CHECKPOINT, args.device, args.cfg_options)
    print(f'model: {args.config} ({describe_model(model)}; {args.checkpoint or "not trained"})', flush=True)
    inferencer = FewShotInferencer(
        model, ignore_value=args.ignore_value, upright=args.upright, batch_size=args.batch_size, explain=args.explain,
        max_pixels=args.max_pixels, invert=args.invert, presence=args.presence,
        presence_threshold=args.presence_threshold, region=args.region)
    show_support(inferencer.set_support(support, args.negative), model, args)
    for result in inferencer.iterate(args.query, args.out):
        print(describe(result, args.presence is not None), flush=True)
