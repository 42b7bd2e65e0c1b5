"""List, show or copy the configs of the model zoo: ``mmfss configs list|show|copy``."""
import argparse
from pathlib import Path

from .arguments import add_options, check_arguments, run_command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='List, show or copy the configs of the model zoo.')
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    listing = actions.add_parser('list', help='list the names of the models')
    listing.add_argument('pattern', nargs='?', help='part of a name, or a shell pattern, e.g. "dcama_*_fold0"')
    showing = actions.add_parser('show', help='print the whole config of a model')
    copying = actions.add_parser('copy', help='write a config file that inherits from that of a model, to change it')
    for part in (showing, copying):
        part.add_argument('name', help='name of a model, or a config file')
    copying.add_argument('file', type=Path, nargs='?', help='the new file; default: <name>.py')
    copying.add_argument('--full', action='store_true', help='write out all keys instead of inheriting them')
    copying.add_argument('--force', action='store_true', help='replace the file if it exists')
    add_options(showing)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    # PyTorch takes seconds to import, so the arguments come first.
    from .runs.configs import run
    run_command(run, args)


if __name__ == '__main__':
    main()
