"""Arguments of the model converters."""
import argparse
import os


def parse_src_and_dst(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse ``SRC DST``, which are strings, and make sure that they differ."""
    args = parser.parse_args()
    if os.path.realpath(args.src) == os.path.realpath(args.dst) or os.path.isdir(args.dst):
        parser.error(f'DST must be another file than SRC and not a folder, got "{args.dst}".')
    return args
