"""Settings of the documentation site; `make docs` builds it, with warnings as errors."""
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def conf() -> dict[str, Any]:
    pytest.importorskip('sphinx', reason='Sphinx is not installed: mmfss[docs]')
    return runpy.run_path(str(ROOT / 'docs' / 'en' / 'conf.py'))


def contents(text: str) -> list[str]:
    return [line for block in re.findall(r'```{toctree}(.*?)```', text, re.S) for line in block.splitlines()
            if re.fullmatch(r'[\w/]+', line)]


def test_every_page_is_in_the_contents(conf: dict[str, Any]) -> None:
    found = contents(conf['complete_contents']((ROOT / 'docs/en/index.md').read_text(encoding='utf-8')))
    assert len(found) == len(set(found))
    pages = {path.stem for path in ROOT.glob('docs/en/*.md')} - {'index'}
    assert pages <= set(found)
    assert set(found) - pages == {'methods/index', 'api/index', 'project/changelog', 'project/contributing'}


def test_announced_pages_wait_and_new_ones_are_listed(conf: dict[str, Any]) -> None:
    text = conf['complete_contents']('# Title\n\n```{toctree}\nnot_written\ndata\n```\n')
    assert 'not_written' not in text and 'usage' in contents(text) and contents(text).count('data') == 1


@pytest.mark.parametrize(('page', 'text', 'expected'), [
    ('data', '[a](../../configs/dcama/README.md#x)', '[a](methods/dcama.md#x)'),
    ('methods/dcama', '[a](../hsnet) [b](../../docs/en/data.md)', '[a](../methods/hsnet.md) [b](../data.md)'),
    ('methods/dcama', '[a](metafile.yml)', '[a](<../../../configs/dcama/metafile.yml>)'),
    ('project/changelog', '[a](docs/en/faq.md)', '[a](../faq.md)'),
    ('data', '![a](images/page.jpg) [b](https://x.org/a) [c](#d) [e](none.md)',
     '![a](images/page.jpg) [b](https://x.org/a) [c](#d) [e](none.md)')])
def test_links_of_the_repository_hold(conf: dict[str, Any], page: str, text: str, expected: str) -> None:
    source = [text]
    conf['read_links'](None, page, source)
    assert source == [expected]


def test_api_pages_name_modules() -> None:
    pages = [path for path in ROOT.glob('docs/en/api/*.md') if path.stem != 'index']
    modules = [re.search(r'automodule:: (mmfss[\w.]+)', page.read_text(encoding='utf-8'))[1] for page in pages]
    assert len(modules) >= 12
    for module in modules:
        assert (ROOT / module.replace('.', '/') / '__init__.py').is_file(), module
