"""The table of the zoo: counted as the tool says, and the page shows what was counted."""
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from mmfss.registry import MODELS, register_all_modules
from tests.tiny.tools import TOOLS, load_tool
from tests.tiny.weightless import Weightless

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'en' / 'model_zoo.md'
RESULTS = json.loads(PAGE.with_suffix('.json').read_text())
ROWS = {row['config']: row for row in RESULTS['models']}
SMALL = ['configs/hsnet/resnet18_shapes_fold0.py', 'configs/dcama/resnet18_shapes_fold0.py']
# As published. The released DMTNet has more that nothing uses: six biases of two numbers, and with VGG-16 two of six
# layers.
LEARNED = dict(
    hsnet=dict(resnet50_pascal5i_fold0=2573794, resnet101_pascal5i_fold0=2587394, vgg16_pascal5i_fold0=2570018),
    dmtnet=dict(resnet50_fss1000=2588142 - 6 * 2, vgg16_fss1000=2576174 - 6 * 2 - 2 * 2 * 512),
    dcama=dict(resnet50_pascal5i_fold0=14215394, resnet101_pascal5i_fold0=14222194, swinb_pascal5i_fold0=5073394))


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return load_tool('zoo_table')


@pytest.fixture
def cases() -> ModuleType:
    return load_tool('zoo_cases')


class TestCounts:

    @pytest.mark.parametrize('config', SMALL)
    def test_small_models(self, cases: ModuleType, config: str) -> None:
        found = cases.count(cases.Passes(ROOT / config))
        assert found == {key: ROWS[config][key] for key in ('input', 'parameters', 'macs')}
        assert found['input'] == [128, 128] and min(found['macs'].values()) > 1e7

    @pytest.mark.parametrize('config', ROWS)
    def test_parameters(self, cases: ModuleType, config: str) -> None:
        register_all_modules(init_default_scope=True)
        with Weightless(), DefaultScope.overwrite_default_scope('mmfss'):
            model = MODELS.build(Config.fromfile(ROOT / config).model)
        assert cases.num_parameters(model) == ROWS[config]['parameters']

    @pytest.mark.parametrize(('method', 'name'), [(method, name) for method in LEARNED for name in LEARNED[method]])
    def test_published_numbers_of_parameters(self, method: str, name: str) -> None:
        assert ROWS[f'configs/{method}/{name}.py']['parameters']['head'] == LEARNED[method][name]

    def test_resnet50(self) -> None:
        """4.09 GMACs for 224 x 224 pixels, as everyone counts, and convolutions cost in proportion to pixels."""
        row = ROWS['configs/dcama/resnet50_pascal5i_fold0.py']
        assert row['macs']['backbone'] == pytest.approx(4.09e9 * (384 / 224)**2, rel=5e-3)

    def test_product_added_in_place(self, cases: ModuleType) -> None:
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: cases.addmm_flops}) as counter:
            torch.zeros(3, 5).addmm_(torch.ones(3, 7), torch.ones(7, 5), alpha=2)
        assert counter.get_total_flops() == 2 * 3 * 7 * 5

    def test_disc(self, cases: ModuleType) -> None:
        assert float(cases.disc((400, 300)).mean()) == pytest.approx(1 / 8, abs=2e-3)


class TestPage:

    def test_shows_the_results(self, tool: ModuleType) -> None:
        assert tool.split_page(PAGE)[1] == tool.markdown(RESULTS['models'])

    def test_every_method_is_there(self) -> None:
        collections = {collection['Name'] for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
                       for collection in yaml.safe_load((ROOT / path).read_text())['Collections']}
        methods = ' '.join(row['method'] for row in ROWS.values()).lower()
        assert [name for name in collections if name.lower() not in methods] == []

    def test_published_results_are_those_of_the_methods_pages(self) -> None:
        rows = [line.split(' | ') for line in PAGE.read_text().split('## Published results')[1].splitlines()
                if line.startswith('| [')]
        assert len(rows) >= 8
        for method, *columns in rows:
            page = (PAGE.parent / re.search(r'\]\(([^)]+)\)', method)[1]).read_text()
            numbers = [number for column in columns for number in column.strip(' |').split(' / ') if '.' in number]
            assert numbers and all(number in page for number in numbers), method


class TestCommand:

    @pytest.fixture
    def page(self, tool: ModuleType, tmp_path: Path) -> Path:
        path = tmp_path / 'page.md'
        path.write_text('before\n' + ''.join(tool.MARKS) + '\nafter\n')
        return path

    def run(self, tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
        threads = torch.get_num_threads()
        monkeypatch.setattr(sys, 'argv', ['zoo_table.py', *map(str, arguments)])
        try:
            tool.main()
        finally:
            torch.set_num_threads(threads)

    def test_measures_then_counts(self, tool: ModuleType, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(tool, monkeypatch, '--page', page, SMALL[0], '--repeat-times', '1')
        first, = json.loads(page.with_suffix('.json').read_text())['models']
        measured = first['measured']
        assert len(measured['seconds']['head']) == 1 and measured['time_ratio']['median'] > 0
        assert min(measured['extra_bytes'].values()) > 0
        # Another model joins it; the first keeps what was measured when it is counted again.
        self.run(tool, monkeypatch, '--page', page, SMALL[1], '--count-only')
        self.run(tool, monkeypatch, '--page', page, '--count-only')
        again, other = json.loads(page.with_suffix('.json').read_text())['models']
        assert again == first and (other['config'], other['measured']) == (SMALL[1], None)
        text = page.read_text()
        assert text.startswith('before\n') and text.endswith('\nafter\n') and text.count('128 x 128') == 2

    @pytest.mark.parametrize(('arguments', 'message'), [
        (['configs/dcama/resnet5.py'], 'the config of no model'),
        ([], 'name configs'),
        ([SMALL[0], '--repeat-times', '0'], '--repeat-times must be at least 1'),
    ])
    def test_wrong_arguments(self, tool: ModuleType, page: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
        with pytest.raises(SystemExit):
            self.run(tool, monkeypatch, '--page', page, *arguments)
        assert message in capsys.readouterr().err

    def test_page_without_marks(self, tool: ModuleType, page: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture) -> None:
        page.write_text('no table')
        with pytest.raises(SystemExit):
            self.run(tool, monkeypatch, '--page', page, SMALL[0])
        assert 'lacks the marks' in capsys.readouterr().err and page.read_text() == 'no table'
