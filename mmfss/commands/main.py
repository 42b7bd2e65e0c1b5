"""The command ``mmfss``: every command of the package by name, ``mmfss NAME ...`` or ``python -m mmfss NAME ...``."""
import sys
from typing import List, Optional

from mmfss.utils.names import did_you_mean
from mmfss.version import __version__
from . import (
    app,
    check_dataset,
    choose_threshold,
    configs,
    cross_validate,
    download,
    explain,
    export,
    predict,
    select_support,
    test,
    train,
)

# Each module has the parser of its command, and imports its work when that begins.
COMMANDS = {
    'predict': (predict, 'segment own photographs by the example of annotated ones'),
    'app': (app, 'open a page in the browser: segment by examples, see why'),
    'train': (train, 'train a model'),
    'test': (test, 'test a model'),
    'explain': (explain, 'explain predictions and measure the explanations'),
    'cross-validate': (cross_validate, 'test a model on all folds, with controls'),
    'select-support': (select_support, 'choose the best examples of a class'),
    'choose-threshold': (choose_threshold, 'choose the threshold without the tested classes'),
    'check-data': (check_dataset, 'read a dataset once and list all its faults'),
    'download': (download, 'download datasets, split lists and weights by name'),
    'export': (export, 'write a model and its examples as one ONNX or PyTorch file'),
    'configs': (configs, 'list, show or copy the configs of the model zoo'),
}


def usage() -> str:
    """Return the overview of all commands."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {text}' for name, (_, text) in COMMANDS.items()]
    return '\n'.join(['usage: mmfss COMMAND ...', '', 'Few-shot semantic segmentation that explains itself.', '',
                      'commands:', *lines, '', 'mmfss COMMAND --help describes a command.'])


def main(arguments: Optional[List[str]] = None) -> None:
    """Run a command by name.

    Args:
        arguments (list[str], optional): Name and arguments; those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ('-h', '--help'):
        print(usage())
        raise SystemExit(0 if arguments else 2)
    name, *rest = arguments
    if name == '--version':
        print(f'mmfss {__version__}')
        return
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS, limit=2)
        print(f'mmfss: there is no command "{name}".{hint}\n\n{usage()}', file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [f'mmfss {name}', *rest]
    COMMANDS[name][0].main()


if __name__ == '__main__':
    main()
