"""Work of :mod:`mmfss.commands.configs`."""
import argparse
from pathlib import Path

from mmfss.utils.config import load_config
from mmfss.utils.errors import ConfigError
from mmfss.utils.files import atomic_path
from mmfss.utils.model_index import find_config, list_models
from mmfss.utils.package_root import get_package_root


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    if args.action == 'list':
        names = list_models(args.pattern)
        if not names:
            raise ConfigError(f'No model has "{args.pattern}" in its name: "mmfss configs list" lists all.')
        print('\n'.join(names))
    elif args.action == 'show':
        print(load_config(find_config(args.name), args.cfg_options).pretty_text)
    else:
        copy(args)


def copy(args: argparse.Namespace) -> None:
    """Write a config file of the user's own."""
    source = find_config(args.name)
    target = args.file or Path(f'{Path(args.name).stem}.py')
    if target.exists() and not args.force:
        raise ConfigError(f'"{target}" exists: name another file, or use --force.')
    if not args.full and not source.is_file():
        raise ConfigError(f'"{args.name}" has no file of its own to inherit from: use --full, or copy fold 0.')
    if args.full:
        text = load_config(find_config(args.name)).pretty_text
    else:
        text = f"_base_ = '{_base(source)}'\n\n# Keys written here replace those of the base, e.g.\n" \
               '# train_cfg = dict(max_iters=1000)\n'
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding='utf-8')
    print(f'{target}: {"all keys of" if args.full else "inherits from"} {source}')


def _base(source: Path) -> str:
    """Return how a config file elsewhere names its base."""
    configs = get_package_root() / 'configs'
    source = source.resolve()
    if configs.resolve() in source.parents:
        return f'mmfss::{source.relative_to(configs.resolve()).as_posix()}'
    return str(source)
