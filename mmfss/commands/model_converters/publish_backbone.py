"""Cut the backbone out of a training checkpoint: ``python tools/model_converters/publish_backbone.py SRC DST``."""
import argparse
from pathlib import Path

from ..arguments import check_arguments, run_command


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description='Keep the backbone of a checkpoint, in half precision.')
    parser.add_argument('src', type=Path, help='checkpoint of a model with a backbone')
    parser.add_argument('dst', type=Path, help='file to write; a config names it in init_cfg with prefix="backbone."')
    args = check_arguments(parser.parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from ..runs.model_converters.publish_backbone import run
    run_command(run, args)
