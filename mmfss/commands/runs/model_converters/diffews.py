"""Work of :mod:`mmfss.commands.model_converters.diffews`."""
import argparse

from mmfss.converters.diffews_weights import convert_diffews, save_checkpoint
from mmfss.utils.files import atomic_path, check_output_file


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_output_file(args.dst, 'DST')
    weights, meta = convert_diffews(args.src, args.finetuned, args.text_embed)
    with atomic_path(args.dst) as path:
        save_checkpoint(weights, meta, path)
    print(f'{args.dst}: ' + ', '.join(f'{key} {value}' for key, value in meta.items()))
