"""Work of :mod:`mmfss.commands.image_demo`."""
import argparse

from mmfss.apis import FewShotInferencer, init_model
from mmfss.apis.inference import NO_CHECKPOINT
from mmfss.apis.support_set import Shots
from mmfss.utils.files import check_writable


def collect_support(args: argparse.Namespace) -> dict[str, Shots]:
    """Examples by class name."""
    classes: dict[str, list[tuple[str, str]]] = {}
    for name, image, mask in args.class_support or [('object', *pair) for pair in args.support]:
        classes.setdefault(name, []).append((image, mask))
    return classes


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_writable(args.out_dir, 'folder', '--out-dir')
    model = init_model(args.config, args.checkpoint or NO_CHECKPOINT, args.device, args.cfg_options)
    trained = 'not trained' if args.checkpoint is None else args.checkpoint
    print(f'model: {args.config} ({type(model.backbone).__name__}, {type(model.head).__name__}; {trained})', flush=True)
    inferencer = FewShotInferencer(
        model, ignore_value=args.ignore_value, upright=args.upright, batch_size=args.batch_size,
        explain=args.explain, max_pixels=args.max_pixels, presence=args.presence,
        presence_threshold=args.presence_threshold)
    inferencer.set_support(collect_support(args), args.negative)
    for result in inferencer.iterate(args.query, args.out_dir):
        share = f'{100 * result["foreground_fraction"]:.1f} % foreground'
        if result['presence'] is not None:
            name = 'presence' if args.presence else 'presence score'
            share += f', {name} ' + '/'.join(f'{value:.2f}' for value in result['presence'])
        if args.negative:
            share += f', {100 * result["negative_fraction"]:.1f} % taken away by negative references'
        files = ', '.join(result[key] for key in ('overlay_path', 'explanation_path') if key in result)
        print(f'{result["query"]}: {share}, {files}', flush=True)
