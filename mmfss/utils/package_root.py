"""Configs of this package, wherever it is installed: by path, and as ``mmfss::...`` in ``_base_`` of other configs."""
from pathlib import Path
from types import ModuleType
from typing import Optional, Tuple

INDEX = 'model-index.yml'
SCOPE = 'mmfss'


def get_package_root() -> Path:
    """Find the folder that holds ``configs`` and the model index.

    Returns:
        Path: ``.mim`` of an installed wheel, or the source tree.

    Raises:
        FileNotFoundError: If the installation has neither.
    """
    package = Path(__file__).parents[1]
    for root in (package / '.mim', package.parent):
        if (root / INDEX).is_file():
            return root
    raise FileNotFoundError(f'The installation in "{package}" has no {INDEX}: install the wheel, or the source tree '
                            'with "pip install -e .".')


def provide_base_configs(module: ModuleType) -> None:
    """Let MMEngine find ``mmfss::<config>``; by itself it looks for a built package and misses a source tree.

    Args:
        module (module): ``mmengine.config.config``.
    """
    find_others = module.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
        scope, separator, name = cfg_path.partition('::')
        if scope != SCOPE or not separator:
            return find_others(cfg_path, filename)
        path = get_package_root() / 'configs' / name
        if not path.is_file():
            raise FileNotFoundError(f'"{filename}" is based on "{cfg_path}", but there is no "{path}".')
        return str(path), SCOPE

    module.Config._get_cfg_path = staticmethod(get_cfg_path)
