"""Cut the backbone out of a training checkpoint: ``python tools/model_converters/publish_backbone.py SRC DST``."""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader

from mmfss.engine.runner_setup import plain_errors
from mmfss.utils.files import atomic_path, check_output_file

PREFIX = 'backbone.'


def main() -> None:
    parser = argparse.ArgumentParser(description='Keep the backbone of a checkpoint, in half precision.')
    parser.add_argument('src', type=Path, help='checkpoint of a model with a backbone')
    parser.add_argument('dst', type=Path, help='file to write; a config names it in init_cfg with prefix="backbone."')
    args = parser.parse_args()
    with plain_errors():
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


if __name__ == '__main__':
    main()
