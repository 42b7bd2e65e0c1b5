"""Command lines of the README, the documentation, the methods' pages and the tools themselves: the files are there, the
tools know the options, the configs know the keys.
"""
import argparse
import re
import runpy
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from mmfss import register_all_modules
from mmfss.evaluation.attribution.presets import metric_configs
from mmfss.explainers.building import explainer_configs
from mmfss.utils.checkpoint_paths import expand_braces
from mmfss.utils.config import load_config
from mmfss.utils.config_options import check_options, parse_options

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted(ROOT.glob('docs/en/*.md')), *sorted(ROOT.glob('configs/*/README.md'))]
SOURCES = [path for folder in ('mmfss', 'configs', 'tools', 'demo') for path in sorted((ROOT / folder).rglob('*.py'))]
COMMAND = re.compile(r'(?<![\w/])(?:python|bash) +(?:tools|demo)/[\w/{},.]+\.(?:py|sh)')
# Sources that exist only in this tree, such as `mmfss/models/heads/` or `configs/dcama/swinb_coco20i_fold{0..3}.py`.
PATH = re.compile(r'(?<![\w/.])(?:mmfss|configs|tools|tests|demo|docs)/[\w/{},.*-]*')


class Command(NamedTuple):
    """A command line and the comment behind it."""
    where: str
    line: str
    comment: str = ''


def commands_of(path: Path) -> Iterator[Command]:
    """Command lines in blocks (to the end of the line, which a backslash prolongs) and in inline code."""
    text, where = path.read_text(encoding='utf-8'), path.relative_to(ROOT).as_posix()
    for match in COMMAND.finditer(text):
        ticks = re.search(r'`*$', text[:match.start()])[0]
        if ticks:
            line = text[match.start():text.index(ticks, match.end())]
            yield Command(where, ' '.join(re.sub(r'\n *#', '\n', line).split()))
        else:
            whole = re.sub(r'\\\n(?: *#)?', ' ', text[match.start():])
            line, _, comment = whole.partition('\n')[0].partition(' #')
            yield Command(where, ' '.join(line.split()), comment)


def inline_code(page: Path) -> list[str]:
    """Code between backticks, outside of blocks, on one line."""
    text = re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.S | re.M)
    return [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', text)]


def short_commands_of(page: Path) -> Iterator[Command]:
    """Inline code that calls a tool by its bare name, such as `swin2mmfss.py SRC DST`."""
    for code in inline_code(page):
        name, _, rest = code.partition(' ')
        if re.fullmatch(r'\w+\.py', name) and rest:
            tool, = (ROOT / 'tools').rglob(name)
            yield Command(page.relative_to(ROOT).as_posix(), f'python {tool.relative_to(ROOT).as_posix()} {rest}')


COMMANDS = list(dict.fromkeys([
    *(command for path in (*PAGES, *SOURCES) for command in commands_of(path)),
    *(command for page in PAGES for command in short_commands_of(page))]))


class Captured(Exception):
    """Holds the parser of a tool, which goes no further."""


@cache
def parser_of(tool: str) -> argparse.ArgumentParser:
    def capture(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Captured(self)

    with pytest.MonkeyPatch.context() as patch:
        for method in ('parse_args', 'parse_intermixed_args'):
            patch.setattr(argparse.ArgumentParser, method, capture)
        patch.setattr(sys, 'argv', [tool])
        patch.syspath_prepend(str((ROOT / tool).parent))
        with pytest.raises(Captured) as captured:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
    return captured.value.args[0]


def python_call(tool: str, arguments: list[str]) -> tuple[str, list[str]]:
    """What a shell script of several processes calls: it takes a number of processes before the options."""
    if tool.endswith('.py'):
        return tool, arguments
    if tool.endswith('gpu_check.sh'):  # a folder, then options
        return tool.replace('.sh', '.py'), arguments[1:]
    script = (ROOT / tool).read_text(encoding='utf-8')
    name, first = re.search(r'/(\w+\.py)"', script)[1], int(re.search(r'\$\{@:(\d+)}', script)[1])
    *fixed, processes = arguments[:first - 1]
    assert processes.isdigit(), f'{processes} is not a number of processes'
    return f'tools/{name}', [*fixed, *arguments[first - 1:]]


def check(tool: str, arguments: list[str], comment: str) -> argparse.Namespace:
    tool, arguments = python_call(tool, arguments)
    parser = parser_of(tool)
    known = parser._option_string_actions
    options = [word.partition('=')[0] for word in [*arguments, *comment.split()] if word.startswith('--')]
    # Written out: argparse would accept the beginning of an option too.
    assert not [option for option in options if option not in known], f'{tool} knows {sorted(known)}'
    return parser.parse_args(arguments)


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: f'{command.where}: {command.line}'[:150])
def test_command(command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(ROOT)
    # Brackets mark what may be left out, dots what goes on or is not said.
    line = re.sub(r' --[\w-]+ \.\.\.', '', re.sub(r' \[(--[^\]]*)\]', r' \1', command.line))
    _, script, *arguments = (word for word in shlex.split(line) if word != '...')
    paths = [path for word in arguments if word.startswith('configs/') and '<' not in word
             for path in expand_braces(word)]
    # Read as commands do: a fold may have no file of its own.
    configs = [load_config(path) for path in paths if path.endswith('.py')]
    assert not [path for path in paths if not path.endswith('.py') and not Path(path).exists()]
    for tool in expand_braces(script):
        assert Path(tool).is_file(), tool
        if '[options' in line or 'slurm_' in tool:
            continue
        try:
            args = check(tool, arguments, command.comment)
        except SystemExit:
            pytest.fail(capsys.readouterr().err)
        for cfg in configs:
            check_options(cfg, parse_options(getattr(args, 'cfg_options', None) or ()))
        if tool.endswith('explain.py') and args.explainer:
            register_all_modules(init_default_scope=True)
            explainer_configs(args.explainer)
            metric_configs(args.metrics or ())


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files(page: Path) -> None:
    """Files and folders of this repository in inline code."""
    for code in inline_code(page):
        for name in PATH.findall(code) if '<' not in code and '...' not in code else ():
            for path in expand_braces(name):
                assert any(ROOT.glob(path.rstrip('/'))), f'{path} in `{code}`'


TOOLS = [path.relative_to(ROOT).as_posix() for path in SOURCES
         if path.parts[len(ROOT.parts)] in ('tools', 'demo') and "__name__ == '__main__'" in path.read_text()]


@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_has_help(tool: str) -> None:
    """Every argument is explained."""
    parser = parser_of(tool)
    assert parser.description and len(parser.format_help()) > 200
    assert not [action.dest for action in parser._actions if not action.help]


def test_they_are_found() -> None:
    """Blocks, prolonged lines, inline code over two lines, scripts, bare names."""
    found = {command.line for command in COMMANDS}
    assert len(COMMANDS) > 60
    assert 'bash tools/dist_train.sh configs/dcama/swinb_coco20i_fold0.py 4' in found
    assert any(line.endswith('--region prediction --out explanations') for line in found)
    assert any('zoo_table.py --count-only' in line for line in found)
    assert any(line.startswith('python tools/model_converters/swin2mmfss.py SRC') for line in found)
    with pytest.raises(AssertionError, match='tools/test.py knows'):
        check('tools/test.py', ['CONFIG', 'CHECKPOINT', '--shot', '5'], '')
    with pytest.raises(SystemExit):
        check('tools/test.py', ['CONFIG', 'CHECKPOINT', '--shots', 'five'], '')
