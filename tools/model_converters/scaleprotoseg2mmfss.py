"""Convert a model of the official ScaleProtoSeg implementation (DeepLabv2 ResNet or U-Net, stage 1 or 2) to mmfss.

The pickled model is read with placeholders for its classes: no code in the file runs.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import os
from pathlib import Path

import torch

from mmfss.converters.scaleproto_weights import convert_scaleproto, read_official
from mmfss.utils.checkpoint import CheckpointError
from mmfss.utils.files import atomic_path


def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='the published file, e.g. push_last.pth or final-group.pth')
    parser.add_argument('dst', help='the file to write')
    args = parser.parse_args()
    if os.path.realpath(args.src) == os.path.realpath(args.dst) or os.path.isdir(args.dst):
        parser.error(f'DST must be another file than SRC and not a folder, got "{args.dst}".')
    try:
        state_dict, meta = convert_scaleproto(read_official(args.src))
    except (FileNotFoundError, CheckpointError) as error:
        parser.exit(1, f'"{args.src}" was not converted. {error}\n')
    state_dict = {name: value.clone() for name, value in state_dict.items()}
    with atomic_path(args.dst) as temporary:
        torch.save(dict(state_dict=state_dict, meta=dict(source=Path(args.src).name, **meta)), temporary)
    print(f'{args.dst}: ' + ', '.join(f'{key} {value}' for key, value in meta.items()))


if __name__ == '__main__':
    main()
