"""The command ``mmfss``: every command of the package by name, ``mmfss NAME ...`` or ``python -m mmfss NAME ...``."""
import difflib
import importlib
import sys
from typing import List, Optional

from mmfss.version import __version__

COMMANDS = {
    'predict': 'segment own photographs by the example of annotated ones',
    'train': 'train a model',
    'test': 'test a model',
    'explain': 'explain predictions and measure the explanations',
    'cross-validate': 'test a model on all folds, with controls',
    'select-support': 'choose the best examples of a class',
    'choose-threshold': 'choose the threshold without the tested classes',
    'check-data': 'read a dataset once and list all its faults',
    'configs': 'list, show or copy the configs of the model zoo',
}
_MODULES = {'check-data': 'check_dataset'}


def usage() -> str:
    """Return the overview of all commands."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {text}' for name, text in COMMANDS.items()]
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
        close = difflib.get_close_matches(name, COMMANDS, n=2)
        hint = f' Did you mean {" or ".join(close)}?' if close else ''
        print(f'mmfss: there is no command "{name}".{hint}\n\n{usage()}', file=sys.stderr)
        raise SystemExit(2)
    module = importlib.import_module(f'mmfss.commands.{_MODULES.get(name, name.replace("-", "_"))}')
    sys.argv = [f'mmfss {name}', *rest]
    module.main()


if __name__ == '__main__':
    main()
