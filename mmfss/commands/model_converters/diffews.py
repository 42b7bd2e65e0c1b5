"""Convert Stable Diffusion 2.1, or a published DiffewS UNet, to one checkpoint of mmfss.

Examples:
    python tools/model_converters/diffews2mmfss.py stable-diffusion-2-1 checkpoints/diffews_sd21.pth
    python tools/model_converters/diffews2mmfss.py stable-diffusion-2-1 checkpoints/diffews.pth --finetuned DIR
"""
import argparse
from pathlib import Path

from ..arguments import check_arguments, run_command


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, help='folder of Stable Diffusion 2.1 in the layout of diffusers: vae, unet, '
                        'text_encoder')
    parser.add_argument('dst', type=Path, help='the file to write')
    parser.add_argument('--finetuned', type=Path, help='folder of a published DiffewS UNet (also with unet or '
                        'unet/unet inside), taken in place of the UNet in SRC')
    parser.add_argument('--text-embed', type=Path, help="file of the empty prompt's embedding, .npy (77, 1024); "
                        'default: computed with the text encoder in SRC')
    args = check_arguments(parser.parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from ..runs.model_converters.diffews import run
    run_command(run, args)
