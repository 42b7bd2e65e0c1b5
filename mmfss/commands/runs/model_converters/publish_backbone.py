"""Work of :mod:`mmfss.commands.model_converters.publish_backbone`."""
import argparse

import torch
from mmengine.runner import CheckpointLoader

from mmfss.utils.files import atomic_path, check_output_file

PREFIX = 'backbone.'


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    check_output_file(args.dst, 'DST')
    checkpoint = CheckpointLoader.load_checkpoint(str(args.src), map_location='cpu')
    state = checkpoint.get('state_dict', checkpoint)
    backbone = {name: value.half() if value.is_floating_point() else value
                for name, value in state.items() if name.startswith(PREFIX)}
    if not backbone:
        raise ValueError(f'"{args.src}" holds no weights called "{PREFIX}...".')
    with atomic_path(args.dst) as path:
        torch.save(dict(state_dict=backbone, meta=dict(source=args.src.name)), path)
    print(f'{args.dst}: {len(backbone)} tensors, {args.dst.stat().st_size / 2**20:.1f} MiB')
