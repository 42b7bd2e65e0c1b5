"""Work of :mod:`mmfss.commands.export`."""
import argparse

from mmfss.apis import FewShotInferencer, init_model
from mmfss.apis.inference import NO_CHECKPOINT
from mmfss.deployment import export_model
from mmfss.deployment.export import check_format
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import check_output_file
from .predict import collect_support, describe_model


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_output_file(args.out, '--out')
    try:
        check_format(args.out)
    except ImportError as error:
        raise ConfigError(str(error)) from error
    support = collect_support(args)
    model = init_model(args.config, args.checkpoint or NO_CHECKPOINT, 'cpu', args.cfg_options)
    print(f'model: {args.config} ({describe_model(model)}; {args.checkpoint or "not trained"})', flush=True)
    inferencer = FewShotInferencer(model, ignore_value=args.ignore_value, upright=args.upright,
                                   max_pixels=args.max_pixels, invert=args.invert)
    encoded = inferencer.set_support(support, args.negative)
    counts = ', '.join(f'{name} ({len(shots)})' for name, shots in zip(encoded.class_names, encoded.shots))
    print(f'examples: {counts}; writing {args.out} takes up to a few minutes', flush=True)
    report = export_model(inferencer, args.out, args.opset, args.tolerance)
    size = '{}, {}'.format(*report.metadata['size'])
    print(f'{report.path}: {report.path.stat().st_size / 2**20:.1f} MiB, from images (B, 3, {size}) to logits (B, '
          f'{len(report.metadata["classes"])}, {size})')
    print(f'compared with PyTorch on the examples and their mirror images ({report.num_images}): logits differ by at '
          f'most {report.largest_difference:.1e}, {100 * report.equal_pixels:.3f} % of the mask pixels are equal')
    if report.whole_model is not None:
        print(f'note: the file holds {report.metadata["form"]}: {100 * report.whole_model:.1f} % of the mask pixels '
              'equal those of the whole model')
    print(f'to run it: python {report.script} PICTURE MASK.png')
