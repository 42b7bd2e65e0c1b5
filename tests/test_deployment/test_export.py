"""Standalone files of few-shot models: they give what PyTorch gives, and need nothing of this package."""
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmfss import register_all_modules
from mmfss.apis import FewShotInferencer
from mmfss.commands import main
from mmfss.deployment import StandaloneModel, export_model
from mmfss.deployment.export import equal_share, trace
from mmfss.registry import MODELS
from tests.tiny.data import PIPELINE, draw_picture, write_class_folders

BLOCKED = "import sys; sys.modules.update(dict.fromkeys(['mmfss', 'mmseg', 'mmengine', {more!r}])); "
"""A process that cannot import these."""

DEBIASED = dict(type='DebiasedFeatures', num_components=2,
                reader=dict(type='ModuleFeatures', levels=[['1']], probe_size=64))
HEADS = dict(
    dcama=dict(head=dict(type='DCAMAHead')),
    hsnet=dict(head=dict(type='HSNetHead')),
    scaleproto=dict(head=dict(type='FewShotScaleProtoHead', scale_channels=8)),
    mean=dict(head=dict(type='PrototypeMatchingHead'), threshold=0.45),
    cosine=dict(head=dict(type='PrototypeMatchingHead', mode='cosine')),
    gram=dict(head=dict(type='PrototypeMatchingHead', mode='gram', upsample=2)),
    insid3=dict(head=dict(type='INSID3Head'), features=DEBIASED))


class FourConvolutions(nn.Sequential):
    """Maps at strides 4 to 32, in as few steps as possible: a graph takes time for each step."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 5, 4, 2), nn.Conv2d(16, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1),
                         nn.Conv2d(24, 32, 3, 2, 1))


@pytest.fixture(scope='module', autouse=True)
def _backbone() -> Iterator[None]:
    MODELS.register_module(module=FourConvolutions)
    yield
    MODELS.module_dict.pop('FourConvolutions')


REMEMBERED = dict(type='RememberedFeatures', reader=dict(
    type='ModuleFeatures', levels=[['0'], ['1'], ['2'], ['3']], probe_size=64))


def config_of(name: str) -> Config:
    model = dict(type='FewShotSegmentor', backbone=dict(type='FourConvolutions'),
                 **{'features': REMEMBERED, **HEADS[name]})
    return Config(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))


def build(name: str, classes: tuple[str, ...] = ('ant', ), shots: int = 2) -> FewShotInferencer:
    register_all_modules(init_default_scope=True)
    config = config_of(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(config.model).eval()
    model.cfg = config
    inferencer = FewShotInferencer(model, bgr=False)
    inferencer.set_support({
        name: [draw_picture(f'{name}{i}', hue) for i in range(shots)] for hue, name in enumerate(classes)})
    return inferencer


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of another size than the network's."""
    folder = tmp_path_factory.mktemp('export')
    Image.fromarray(draw_picture('query', 0, (50, 90))[0]).save(folder / 'query.png')
    return folder


def run_script(folder: Path, script: Path, blocked: str) -> np.ndarray:
    code = BLOCKED.format(more=blocked) + (
        f'import runpy; sys.argv = [{str(script)!r}, "query.png", "mask.png"]; '
        f'runpy.run_path({str(script)!r}, run_name="__main__")')
    done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("{'background': ")
    return np.asarray(Image.open(folder / 'mask.png'))


@pytest.fixture
def onnx() -> None:
    pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed: mmfss[export]')
    pytest.importorskip('onnxscript', reason='onnxscript is not installed: mmfss[export]')


@pytest.mark.usefixtures('onnx')
class TestOnnx:

    @pytest.mark.parametrize('name', ['dcama', 'hsnet', 'gram', 'insid3'])
    def test_gives_the_same(self, name: str, folder: Path) -> None:
        """For other numbers of pictures than the graph was recorded with."""
        report = export_model(build(name), folder / f'{name}.onnx')
        # One pixel in ten thousand may lie within rounding of the decision.
        assert report.largest_difference < 1e-3 and report.equal_pixels >= 0.9999 and report.num_images == 4
        assert (report.whole_model is not None) == (name == 'insid3')
        assert report.metadata['form'] is None or 'without clusters' in report.metadata['form']

    def test_file(self, folder: Path) -> None:
        """What the file says of itself; the script beside it gives the inferencer's mask without this package."""
        import onnxruntime

        inferencer = build('mean')
        report = export_model(inferencer, folder / 'file.onnx')
        session = onnxruntime.InferenceSession(report.path)
        about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        assert about == {
            'size': [64, 64], 'channels': 'RGB', 'mean': pytest.approx([123.675, 116.28, 103.53]),
            'std': pytest.approx([58.395, 57.12, 57.375]), 'classes': ['background', 'ant'], 'threshold': 0.45,
            'align_corners': True, 'form': None, 'opset': 18, 'model': 'FourConvolutions, PrototypeMatchingHead',
            'mmfss': about['mmfss']}
        assert [node.shape[1:] for node in session.get_inputs()] == [[3, 64, 64]]
        mask = run_script(folder, report.script, 'torch')
        expected = inferencer(str(folder / 'query.png'))['mask']
        assert mask.shape == expected.shape == (50, 90) and 0 < expected.mean() < 1
        assert (mask == expected).mean() > 0.999
        assert len(report.script.read_text().splitlines()) < 30


class TestProgram:

    @pytest.mark.parametrize('name', ['scaleproto', 'cosine'])
    def test_gives_the_same(self, name: str, folder: Path) -> None:
        report = export_model(build(name), folder / f'{name}.pt2')
        # One pixel in ten thousand may lie within rounding of the decision.
        assert report.largest_difference < 1e-3 and report.equal_pixels >= 0.9999

    def test_file(self, folder: Path) -> None:
        """Two classes, and a negative reference."""
        inferencer = build('mean')
        inferencer.set_support({'ant': [draw_picture('ant0', 0)], 'bee': [draw_picture('bee0', 1)]},
                               negative=[draw_picture('dog0', 2)])
        report = export_model(inferencer, folder / 'two.pt2')
        assert report.equal_pixels >= 0.9999 and report.metadata['classes'] == ['background', 'ant', 'bee']
        mask = run_script(folder, report.script, 'onnxruntime')
        expected = inferencer(str(folder / 'query.png'))['mask']
        assert (mask == expected).mean() > 0.999

    def test_a_difference_leaves_no_file(self, folder: Path) -> None:
        with pytest.raises(ValueError, match='differs from PyTorch: logits by up to .* was not written'):
            export_model(build('mean'), folder / 'none.pt2', tolerance=-1)
        assert not list(folder.glob('*none*'))


class TestCommand:

    @pytest.fixture(autouse=True)
    def _own_arguments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, 'argv', ['mmfss'])

    def test_export(self, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        data = write_class_folders(tmp_path / 'data', ('ant', 'bee'), 2)
        config, out = tmp_path / 'x.py', tmp_path / 'x.pt2'
        config_of('mean').dump(config)
        main.main(['export', str(config), '--support-dir', str(data), '--class', 'bee', '--out', str(out)])
        text = capsys.readouterr().out
        assert 'examples: bee (2)' in text and 'images (B, 3, 64, 64) to logits (B, 2, 64, 64)' in text
        assert '100.000 % of the mask pixels are equal' in text and 'x_segment.py PICTURE MASK.png' in text
        assert out.is_file() and (tmp_path / 'x_segment.py').is_file()

    @pytest.mark.parametrize(('arguments', 'message'), [
        (('--support', 'a', 'b', '--out', 'x.pth'), 'name a file with the suffix .onnx or .pt2'),
        (('--out', 'x.onnx'), 'give examples in one way')])
    def test_wrong_arguments(self, arguments: tuple, message: str, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit) as end:
            main.main(['export', 'config.py', *arguments])
        assert end.value.code == 2 and message in capsys.readouterr().err


def test_ties_count_as_equal() -> None:
    """Four pixels: the same label, another one, and two decided by rounding."""
    expected = torch.tensor([[1., 1., 1., 1.], [0., 0., 1 + 1e-6, 1 - 1e-6]])[None, :, None]
    found = torch.tensor([[1., 0., 1., 0.], [0., 1., 0., 1.]])[None, :, None]
    assert equal_share(found, expected) == 0.75


class TestErrors:

    def test_no_support(self) -> None:
        inferencer = build('mean')
        inferencer.support = None
        with pytest.raises(ValueError, match='call set_support'):
            export_model(inferencer, 'x.pt2')

    def test_suffix(self) -> None:
        with pytest.raises(ValueError, match='The suffix of "x.pth" chooses the format: .onnx or .pt2'):
            export_model(build('mean'), 'x.pth')

    def test_pipeline(self) -> None:
        inferencer = build('mean')
        inferencer.transform.transforms.transforms[0].keep_ratio = True
        with pytest.raises(ValueError, match='needs one ResizeEpisodeImage'):
            StandaloneModel(inferencer)

    def test_values_that_decide_shapes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        inferencer = build('mean')
        forward = type(inferencer.model.head).forward
        monkeypatch.setattr(type(inferencer.model.head), 'forward',
                            lambda self, query, encoding: forward(self, query, encoding) * bool(query[0][0].sum() > 0))
        with pytest.raises(ValueError, match='FourConvolutions, PrototypeMatchingHead cannot be exported: '):
            trace(StandaloneModel(inferencer))

    def test_refined_masks(self) -> None:
        inferencer = build('mean')
        inferencer.model.refine = torch.nn.Identity()
        with pytest.raises(ValueError, match=r'model.refine \(Identity\) cannot be exported'):
            StandaloneModel(inferencer)
