"""Convert a model of the official ScaleProtoSeg implementation (DeepLabv2 ResNet or U-Net, stage 1 or 2) to mmfss.

The pickled model is read with placeholders for its classes: no code in the file runs.
"""
import argparse

from .arguments import parse_src_and_dst


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='the published file, e.g. push_last.pth or final-group.pth')
    parser.add_argument('dst', help='the file to write')
    args = parse_src_and_dst(parser)
    # It takes seconds to import, so the arguments come first.
    from ..runs.model_converters.scaleprotoseg import run
    run(args)
