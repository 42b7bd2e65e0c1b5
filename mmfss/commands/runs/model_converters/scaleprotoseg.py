"""Work of :mod:`mmfss.commands.model_converters.scaleprotoseg`."""
import argparse
import sys
from pathlib import Path

import torch

from mmfss.converters.scaleproto_weights import convert_scaleproto, read_official
from mmfss.utils.checkpoint import CheckpointError
from mmfss.utils.files import atomic_path


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    try:
        state_dict, meta = convert_scaleproto(read_official(args.src))
    except (FileNotFoundError, CheckpointError) as error:
        print(f'"{args.src}" was not converted. {error}', file=sys.stderr)
        raise SystemExit(1) from error
    state_dict = {name: value.clone() for name, value in state_dict.items()}
    with atomic_path(args.dst) as temporary:
        torch.save(dict(state_dict=state_dict, meta=dict(source=Path(args.src).name, **meta)), temporary)
    print(f'{args.dst}: ' + ', '.join(f'{key} {value}' for key, value in meta.items()))
