"""Open a page in the browser: segment pictures by examples, see which pixels decided, and measure how true that is.

The page is served to this machine alone, and asks no other.

Example:
    python demo/app.py [--config CONFIG --checkpoint FILE] [--data CONFIG]
"""
import argparse
import sys

from .arguments import CheckpointName, ConfigFile, ConfigName, InputPath, check_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Open a page in the browser: segment pictures by examples, see which '
                                     'of their pixels decided, and measure how true that is.')
    parser.add_argument('--config', type=ConfigName, help='config file of a model, or its name in the model zoo, to '
                        'offer first; default: a model that needs no training, and that of the demo if it is trained')
    parser.add_argument('--checkpoint', type=CheckpointName, metavar='FILE', help='its checkpoint file or address, '
                        'unless it needs none')
    parser.add_argument('--data', type=ConfigFile, metavar='CONFIG', help='offer the test episodes of this config '
                        'file, or model')
    parser.add_argument('--run', type=InputPath, metavar='FILE', help='episodes.csv of tools/test.py: offer its worst '
                        'episodes')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')
    parser.add_argument('--port', type=int, default=8501, help='port of the page; default: 8501')
    parser.add_argument('--address', default='127.0.0.1', help='address to serve; default: 127.0.0.1, this machine '
                        'alone. Nobody is asked for a password: open it to people you trust')
    parser.add_argument('--no-browser', action='store_true', help='do not open a browser')
    args = parser.parse_args()
    if args.checkpoint and not args.config:
        parser.error('--checkpoint is that of a --config: name it too')
    if args.run and not args.data:
        parser.error('--run needs the --data that was tested')
    return args


def main() -> None:
    """Run the command."""
    args = check_arguments(parse_args())
    try:
        from .runs.app import run
    except ModuleNotFoundError as error:
        if error.name != 'streamlit':
            raise
        print('error: The page needs Streamlit, which is not installed: pip install "mmfss[app]"', file=sys.stderr)
        raise SystemExit(1) from error
    run(args)


if __name__ == '__main__':
    main()
