"""Standalone files of few-shot models: they give what PyTorch gives, and need nothing of this package."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from PIL import Image

from mmfss import register_all_modules
from mmfss.apis import FewShotInferencer
from mmfss.deployment import StandaloneModel, export_model
from mmfss.deployment.export import check_images, compare, trace
from mmfss.registry import MODELS
from tests.tiny.data import PIPELINE, draw_picture
from tests.tiny.model import TINY_MODEL

BLOCKED = "import sys; sys.modules.update(dict.fromkeys(['mmfss', 'mmseg', 'mmengine', {more!r}])); "
"""A process that cannot import these."""

# Few maps, so that graphs are small.
LEVELS = dict(type='ResNetFeatures', indices=[1, 3, 5, 7])
DEBIASED = dict(type='DebiasedFeatures', reader=dict(type='ResNetFeatures', indices=[3]), num_components=2)
MODELS_TO_EXPORT = dict(
    dcama=dict(head=dict(type='DCAMAHead'), features=dict(type='RememberedFeatures', reader=LEVELS)),
    hsnet=dict(head=dict(type='HSNetHead'), features=LEVELS),
    scaleproto=dict(head=dict(type='FewShotScaleProtoHead'), features=LEVELS),
    mean=dict(head=dict(type='PrototypeMatchingHead'), features=LEVELS, threshold=0.4),
    cosine=dict(head=dict(type='PrototypeMatchingHead', mode='cosine'), features=LEVELS),
    gram=dict(head=dict(type='PrototypeMatchingHead', mode='gram', upsample=2), features=LEVELS),
    insid3=dict(head=dict(type='INSID3Head'), features=DEBIASED))


def build(name: str, classes: tuple[str, ...] = ('ant', ), shots: int = 2, **changes: object) -> FewShotInferencer:
    register_all_modules(init_default_scope=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict({**TINY_MODEL, **MODELS_TO_EXPORT[name], **changes})).eval()
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    inferencer = FewShotInferencer(model, bgr=False)
    inferencer.set_support({
        name: [draw_picture(f'{name}{i}', hue) for i in range(shots)] for hue, name in enumerate(classes)})
    return inferencer


@pytest.mark.parametrize('name', MODELS_TO_EXPORT)
def test_graph_gives_the_same(name: str) -> None:
    """The recorded program of every head, for another number of pictures than it was recorded with."""
    inferencer = build(name, ('ant', 'bee'))
    model = StandaloneModel(inferencer)
    images = check_images(model, inferencer)
    with torch.no_grad():
        expected = torch.cat([model(image[None]) for image in images])
        whole = inferencer.model.match(inferencer.model.extract_feat(images), inferencer.support.encoding, model.size)
        difference, equal = compare(trace(model).module(), images, expected)
    assert expected.shape == (4, 3, 64, 64) and expected.std() > 0
    assert difference < 1e-4 * max(1, float(expected.abs().max())) and equal == 1
    if name == 'insid3':
        assert 'without clusters' in model.form
    else:
        assert model.form is None and torch.allclose(whole, expected, atol=1e-4)


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
    assert "'background': 0." in done.stdout
    return np.asarray(Image.open(folder / 'mask.png'))


class TestOnnx:

    @pytest.fixture(scope='class', autouse=True)
    def _packages(self) -> None:
        pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed: mmfss[export]')
        pytest.importorskip('onnxscript', reason='onnxscript is not installed: mmfss[export]')

    @pytest.mark.parametrize('name', ['mean', 'dcama'])
    def test_file(self, name: str, folder: Path) -> None:
        """Written, compared, described; the script beside it gives the inferencer's mask without this package."""
        import onnxruntime

        inferencer = build(name)
        report = export_model(inferencer, folder / f'{name}.onnx')
        assert report.largest_difference < 1e-3 and report.equal_pixels == 1 and report.num_images == 4
        session = onnxruntime.InferenceSession(report.path)
        about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        assert about == {
            'size': [64, 64], 'channels': 'RGB', 'mean': pytest.approx([123.675, 116.28, 103.53]),
            'std': pytest.approx([58.395, 57.12, 57.375]), 'classes': ['background', 'ant'],
            'threshold': inferencer.model.threshold, 'align_corners': True, 'form': None, 'opset': 18,
            'model': f'ResNet, {type(inferencer.model.head).__name__}', 'mmfss': about['mmfss']}
        assert [node.shape[1:] for node in session.get_inputs()] == [[3, 64, 64]]
        mask = run_script(folder, report.script, 'torch')
        expected = inferencer(str(folder / 'query.png'))['mask']
        assert mask.shape == expected.shape == (50, 90) and 0 < expected.mean() < 1
        assert (mask == expected).mean() > 0.999
        assert len(report.script.read_text().splitlines()) < 30

    def test_a_difference_leaves_no_file(self, folder: Path) -> None:
        with pytest.raises(ValueError, match='differs from PyTorch: logits by up to .* was not written'):
            export_model(build('mean'), folder / 'none.onnx', tolerance=0)
        assert not list(folder.glob('*none*'))


class TestProgram:

    def test_file(self, folder: Path) -> None:
        inferencer = build('scaleproto', ('ant', 'bee'))
        inferencer.set_support({'ant': [draw_picture('ant0', 0)], 'bee': [draw_picture('bee0', 1)]},
                               negative=[draw_picture('dog0', 2)])
        report = export_model(inferencer, folder / 'two.pt2')
        assert report.equal_pixels == 1 and report.metadata['classes'] == ['background', 'ant', 'bee']
        mask = run_script(folder, report.script, 'onnxruntime')
        expected = inferencer(str(folder / 'query.png'))['mask']
        assert (mask == expected).mean() > 0.999


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
        with pytest.raises(ValueError, match='ResNet, PrototypeMatchingHead cannot be exported: '):
            trace(StandaloneModel(inferencer))

    def test_refined_masks(self) -> None:
        inferencer = build('mean')
        inferencer.model.refine = torch.nn.Identity()
        with pytest.raises(ValueError, match=r'model.refine \(Identity\) cannot be exported'):
            StandaloneModel(inferencer)
