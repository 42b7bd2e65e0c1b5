"""The command ``mmfss``."""
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfss.apis import FewShotInferencer
from mmfss.apis.model_zoo import find_config
from mmfss.commands import main
from mmfss.commands.arguments import check_arguments
from mmfss.datasets.picture_statistics import picture_statistics
from mmfss.utils.checkpoint_paths import split_configs
from mmfss.utils.config import load_config
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmfss'])


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_class_folders(tmp_path_factory.mktemp('predict'), num_images=2)
    torch.save(dict(state_dict=build_tiny_model().state_dict()), root / 'tiny.pth')
    Config(dict(model=TINY_MODEL, test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))).dump(root / 'tiny.py')
    return root


def call(*arguments: object) -> None:
    main.main(list(map(str, arguments)))


class TestDoor:

    def test_overview(self, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as end:
            call('--help')
        assert end.value.code == 0
        text = capsys.readouterr().out
        assert all(f'\n  {name} ' in text for name in main.COMMANDS)

    def test_unknown_command(self, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as end:
            call('pradict')
        assert end.value.code == 2 and 'Did you mean predict?' in capsys.readouterr().err

    @pytest.mark.parametrize('name', main.COMMANDS)
    def test_help_of_each_command(self, name: str, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as end:
            call(name, '--help')
        assert end.value.code == 0 and f'usage: mmfss {name} ' in capsys.readouterr().out

    @pytest.mark.parametrize('name', main.COMMANDS)
    def test_results_go_to_work_dir_or_out(self, name: str, capsys: pytest.CaptureFixture) -> None:
        """Former names of these options are understood, but not shown."""
        with pytest.raises(SystemExit):
            call(name, '--help')
        text = capsys.readouterr().out
        assert not re.search(r'--(out-dir|output-dir|work-dirs)', text)
        assert ('--work-dir' in text) == (name in ('train', 'test', 'explain', 'cross-validate'))
        if name not in ('train', 'app', 'configs', 'download'):
            assert '--out ' in text

    @pytest.mark.parametrize('name, arguments, key', [
        ('predict', ['query', '--support-dir', 'x', '--out-dir', 'there'], 'out'),
        ('cross-validate', ['config.py', '--work-dirs', 'there'], 'work_dirs'),
    ])
    def test_former_options(self, monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], key: str) -> None:
        monkeypatch.setattr(sys, 'argv', ['mmfss', *arguments])
        assert getattr(main.COMMANDS[name][0].parse_args(), key) == Path('there')

    def test_as_a_module(self) -> None:
        done = subprocess.run([sys.executable, '-m', 'mmfss', '--version'], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith('mmfss ')


class TestPredict:

    def test_folder_of_examples(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        call('predict', root / 'ant/images', '--support-dir', root, '--class', 'bee', '--config', root / 'tiny.py',
             '--checkpoint', root / 'tiny.pth', '--out', tmp_path / 'out', '--device', 'cpu', '--explain')
        text = capsys.readouterr().out
        assert all(isinstance(advice['text'], str) for result in json.loads(
            (tmp_path / 'out' / 'results.json').read_text()) for advice in result['advice'])
        assert 'examples: bee (2), as they were read' in text and 'supports.png' in text
        assert text.count('% foreground') == 2
        results = json.loads((tmp_path / 'out' / 'results.json').read_text())
        assert {result['explainer'] for result in results} == {'signed_affex'}
        for result in results:
            shares = result['support_shares'][0]
            assert shares is None or (len(shares) == 2 and sum(shares) == pytest.approx(1))
        assert (tmp_path / 'out' / 'supports.png').is_file()

    def test_inverted_masks_are_noticed(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        with pytest.warns(UserWarning, match='exchange object and background'):
            call('predict', root / 'ant/images/0.jpg', '--support', root / 'bee/images/0.jpg', root / 'bee/masks/0.png',
                 '--config', root / 'tiny.py', '--checkpoint', root / 'tiny.pth', '--out', tmp_path, '--invert',
                 '--device', 'cpu')

    @pytest.mark.parametrize('kind', ['own', 'other', 'unknown'])
    def test_pictures_that_the_model_was_not_trained_on(self, root: Path, tmp_path: Path, kind: str,
                                                        recwarn: pytest.WarningsRecorder) -> None:
        checkpoint = torch.load(root / 'tiny.pth', weights_only=True)
        inferencer = FewShotInferencer(str(root / 'tiny.py'), root / 'tiny.pth', 'cpu')
        shot = inferencer.encode_support([(root / 'bee/images/0.jpg', root / 'bee/masks/0.png')]).shots[0][0]
        statistics = picture_statistics(shot.network_image if kind == 'own' else torch.zeros(3, 8, 8)).expand(60, -1)
        if kind != 'unknown':
            checkpoint['meta'] = dict(trained_on=dict(dataset='ShapesDataset', statistics=statistics.clone()))
        torch.save(checkpoint, tmp_path / 'tiny.pth')
        recwarn.clear()
        call('predict', root / 'ant/images/0.jpg', '--support', root / 'bee/images/0.jpg', root / 'bee/masks/0.png',
             '--config', root / 'tiny.py', '--checkpoint', tmp_path / 'tiny.pth', '--out', tmp_path, '--device', 'cpu')
        said = [str(warning.message) for warning in recwarn if 'was trained on' in str(warning.message)]
        assert len(said) == (kind == 'other')
        if said:
            assert 'pictures of ShapesDataset, and 1 of 1 examples differ' in said[0]

    @pytest.mark.parametrize('arguments, message', [
        ((), 'give examples in one way'), (('--support-dir', 'a', '--support', 'b', 'c'), 'give examples in one way'),
        (('--support', 'b', 'c', '--class', 'mug'), '--class chooses classes of --support-dir')
    ])
    def test_wrong_arguments(self, arguments: tuple, message: str, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as end:
            call('predict', 'query.jpg', *arguments)
        assert end.value.code == 2 and message in capsys.readouterr().err


class TestConfigs:

    def test_list(self, capsys: pytest.CaptureFixture) -> None:
        call('configs', 'list', 'dcama_swinb_coco')
        assert capsys.readouterr().out.split()[0] == 'dcama_swinb_coco20i_fold0'
        with pytest.raises(SystemExit):
            call('configs', 'list', 'nothing_like_it')
        assert 'No model has "nothing_like_it"' in capsys.readouterr().err

    def test_copies_inherit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        call('configs', 'copy', 'hsnet_resnet50_pascal5i_fold1')
        copy = tmp_path / 'hsnet_resnet50_pascal5i_fold1.py'
        assert copy.read_text().startswith("_base_ = 'mmfss::hsnet/resnet50_pascal5i_fold1.py'")
        with pytest.raises(SystemExit):
            call('configs', 'copy', 'hsnet_resnet50_pascal5i_fold1')
        call('configs', 'copy', 'hsnet_resnet50_pascal5i_fold1', 'full.py', '--full')
        assert load_config('full.py').model == load_config(ROOT / 'configs/hsnet/resnet50_pascal5i_fold1.py').model


    def test_folds_without_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            call('configs', 'copy', 'prototype_resnet18_shapes_fold3')
        assert 'has no file of its own to inherit from: use --full' in capsys.readouterr().err
        call('configs', 'copy', 'prototype_resnet18_shapes_fold3', '--full')
        assert load_config('prototype_resnet18_shapes_fold3.py').test_dataloader.dataset.fold == 3


def documented() -> list[str]:
    """Lines of the documentation that call the command."""
    pages = [path for pattern in ('README.md', 'docs/en/*.md', 'configs/*/README.md')
             for path in sorted(ROOT.glob(pattern))]
    blocks = [block for page in pages for block in re.findall(r'```shell\n(.*?)```', page.read_text('utf-8'), re.S)]
    lines = [line.partition(' #')[0].strip() for block in blocks for line in block.splitlines()
             if line.startswith('mmfss ')]
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize('line', documented())
def test_documented_lines(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    _, name, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, 'argv', [f'mmfss {name}', *arguments])
    try:
        args = main.COMMANDS[name][0].parse_args()
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    for key in ('config', 'name'):
        if hasattr(args, key):
            assert find_config(getattr(args, key)).name


@pytest.mark.parametrize('name, arguments, key, found', [
    ('check-data', ['dcama_resnet18_shapes_fold2'], 'data', 'configs/dcama/resnet18_shapes_fold2.py'),
    ('train', ['dcama_resnet18_shapes'], 'configs', 'configs/dcama/resnet18_shapes_fold0.py'),
    ('app', ['--data', 'hsnet_resnet18_shapes_fold1'], 'data', 'configs/hsnet/resnet18_shapes_fold1.py'),
    # A model that the index lists for fold 0 alone
    ('test', ['prototype_resnet18_shapes_fold3'], 'config', 'configs/prototype/resnet18_shapes_fold3.py'),
    ('test', ['dcama_resnet18_shapes', '--test-data', 'hsnet_resnet18_shapes'], 'test_data',
     'configs/hsnet/resnet18_shapes_fold0.py'),
])
def test_names_become_files(monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], key: str,
                            found: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmfss', *arguments])
    value = getattr(check_arguments(main.COMMANDS[name][0].parse_args()), key)
    assert (value[0] if isinstance(value, list) else value) == ROOT / found


def test_names_among_checkpoints() -> None:
    configs, patterns = split_configs(['dcama_resnet18_shapes_fold{0..1}', 'a_fold{0..1}.pth', 'none'])
    assert [config.name for config in configs] == ['resnet18_shapes_fold0.py', 'resnet18_shapes_fold1.py']
    assert patterns == ['a_fold{0..1}.pth']


def test_documented_paths_without_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no folder of configs, those of the package are meant."""
    monkeypatch.chdir(tmp_path)
    assert find_config('configs/dcama/resnet18_shapes_fold0.py') == ROOT / 'configs/dcama/resnet18_shapes_fold0.py'
    (tmp_path / 'configs').mkdir()
    assert find_config('configs/own.py') == Path('configs/own.py')


def test_models_by_name_where_configs_are_asked_for(capsys: pytest.CaptureFixture) -> None:
    call('configs', 'show', 'dcama_resnet18_shapes_fold2')
    assert 'num_heads=4' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call('test', 'dcama_resnet18_shape_fold2', 'none.pth')
    assert 'There is no model "dcama_resnet18_shape_fold2". Did you mean ' in capsys.readouterr().err
