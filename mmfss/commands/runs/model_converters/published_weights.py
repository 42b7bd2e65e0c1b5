"""Work of :mod:`mmfss.commands.model_converters.published_weights`."""
import argparse
import os
import sys

from mmfss.converters.published_weights import CONVERTERS, convert_file
from mmfss.converters.unrolled_lrp_weights import convert_unrolled_lrp
from mmfss.utils.checkpoint import UNSAFE_LOAD, CheckpointError


def run(method: str, args: argparse.Namespace) -> None:
    """Convert a file of a method."""
    if args.unsafe_load:
        os.environ[UNSAFE_LOAD] = '1'
    converters = dict(CONVERTERS, unrolled_lrp=convert_unrolled_lrp)
    try:
        meta = convert_file(converters[method], args.src, args.dst)
    except (OSError, CheckpointError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
    print(f'{args.dst}: ' + ', '.join(f'{key} {value}' for key, value in meta.items()))
