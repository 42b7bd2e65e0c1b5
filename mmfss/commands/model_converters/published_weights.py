"""Convert published weights to mmfss: ``python tools/model_converters/<method>2mmfss.py SRC DST``."""
import argparse

from .arguments import parse_src_and_dst


def main(method: str, description: str) -> None:
    """Run the command.

    Args:
        method (str): A name of :data:`mmfss.converters.published_weights.CONVERTERS`.
        description (str): What is converted.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('src', help='the published file')
    parser.add_argument('dst', help='the file to write')
    parser.add_argument('--unsafe-load', action='store_true', help='unpickle anything: only for a file you trust')
    args = parse_src_and_dst(parser)
    # It takes seconds to import, so the arguments come first.
    from ..runs.model_converters.published_weights import run
    run(method, args)
