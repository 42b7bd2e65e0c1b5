"""Sphinx's settings of the documentation: Markdown pages, methods' pages, and the API from the docstrings."""
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / 'docs' / 'en'
sys.path.insert(0, str(ROOT))

from mmfss import __version__  # noqa: E402

project = 'mmfss'
author = 'The mmfss contributors'
copyright = f'2026, {author}'
release = version = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.mathjax']
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4
# Blocks of pages hold placeholders; a class that two modules offer is found in both.
suppress_warnings = ['misc.highlighting_failure', 'ref.python']
exclude_patterns = ['_build']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # The docstrings have them.
autodoc_inherit_docstrings = False  # Those of PyTorch and MMEngine are in other formats.
autodoc_default_options = {'show-inheritance': True}
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False

html_theme = 'furo'
html_title = f'mmfss {version}'

# Pages that lie elsewhere in the repository, copied here at each build: methods, the changelog, how to contribute.
COPIED = {f'methods/{path.parent.name}': path for path in sorted(ROOT.glob('configs/*/README.md'))}
COPIED |= {f'project/{name.lower()}': ROOT / f'{name}.md' for name in ('CHANGELOG', 'CONTRIBUTING')}
PAGES = {path: name for name, path in COPIED.items()}
PAGES |= {path.resolve(): path.stem for path in HERE.glob('*.md')}
LINK = re.compile(r'(?<!`)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)')


def copy_pages(app: Sphinx) -> None:
    """Copy the pages of :data:`COPIED`; unchanged ones keep their time, so that they are not read again."""
    for name, path in COPIED.items():
        target, text = HERE / f'{name}.md', path.read_text(encoding='utf-8')
        target.parent.mkdir(exist_ok=True)
        if not target.is_file() or target.read_text(encoding='utf-8') != text:
            target.write_text(text, encoding='utf-8')


def read_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let the links of a page, which hold in the repository, hold in the documentation."""
    path = COPIED.get(docname, HERE / f'{docname}.md')
    depth = docname.count('/')

    def rewrite(match: re.Match) -> str:
        target = (path.parent / match[1]).resolve()
        target = target / 'README.md' if target.is_dir() else target
        if target in PAGES:
            return f']({"../" * depth}{PAGES[target]}.md{match[2] or ""})'
        if target.is_relative_to(HERE) or not target.is_relative_to(ROOT) or not target.is_file():
            return match[0]  # of a page here, or wrong: Sphinx reports it
        return f'](<{"../" * (depth + 2)}{target.relative_to(ROOT).as_posix()}>)'

    source[0] = LINK.sub(rewrite, source[0])
    if docname == 'index':
        source[0] = complete_contents(source[0])


def complete_contents(text: str) -> str:
    """List the pages that are there: without announced ones, with those that nobody has placed yet."""
    lines = [line for line in text.splitlines() if not re.fullmatch(r'[\w/]+', line) or page_exists(line)]
    more = sorted(set(PAGES.values()) - set(lines) - {'index'} - {name for name in PAGES.values() if '/' in name})
    if more:
        lines += ['', '```{toctree}', ':hidden:', ':caption: More', '', *more, '```']
    return '\n'.join(lines) + '\n'


def page_exists(name: str) -> bool:
    return name in COPIED or (HERE / f'{name}.md').is_file()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the steps above."""
    app.connect('builder-inited', copy_pages)
    app.connect('source-read', read_links)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
