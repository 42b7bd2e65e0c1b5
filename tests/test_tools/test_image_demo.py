import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmfss.commands import image_demo
from tests import processes
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_class_folders(tmp_path_factory.mktemp('demo'), num_images=2)
    torch.save(dict(state_dict=build_tiny_model().state_dict()), root / 'tiny.pth')
    Config(dict(model=TINY_MODEL, test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))).dump(root / 'tiny.py')
    return root


def run_demo(root: Path, *arguments: str, config: str = 'tiny.py',
             query: str = 'ant/images') -> subprocess.CompletedProcess:
    demo = REPOSITORY / 'demo' / 'image_demo.py'
    environment = dict(PATH='', PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS='1')
    return processes.run(demo, query, config, 'tiny.pth', *arguments, cwd=root, env=environment)


def test_folder_of_queries_and_two_classes(root: Path) -> None:
    finished = run_demo(root, '--class-support', 'bee', 'bee/images/0.jpg', 'bee/masks/0.png', '--class-support', 'cat',
                        'cat/images/0.jpg', 'cat/masks/0.png', '--negative', 'dog/images/0.jpg', 'dog/masks/0.png',
                        '--out-dir', 'out', '--device', 'cpu', '--explain', 'signed_affex')
    assert finished.returncode == 0, finished.stderr
    results = json.loads((root / 'out' / 'results.json').read_text())
    assert [result['query'] for result in results] == ['ant/images/0.jpg', 'ant/images/1.jpg']
    assert all(result['class_names'] == ['bee', 'cat'] for result in results)
    assert all((root / result['overlay_path']).is_file() for result in results)
    assert all(len(result['presence']) == 2 and 0 <= result['negative_fraction'] <= 1 for result in results)
    assert finished.stdout.count('% taken away by negative references') == finished.stdout.count('presence score') == 2
    assert all(result['explainer'] == 'signed_affex' and 'attributions' not in result for result in results)
    assert all((root / result['explanation_path']).is_file() for result in results)
    assert finished.stdout.count('% foreground') == 2 and finished.stdout.count('out/explanations/') == 2


def test_a_model_that_does_not_exist(root: Path) -> None:
    finished = run_demo(root, '--support', 'a', 'b', config='dcama_resnet18_shape')
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    assert 'error: There is no model "dcama_resnet18_shape". Did you mean ' in finished.stderr


def test_error_is_one_line(root: Path) -> None:
    finished = run_demo(root, '--support', 'bee/images/0.jpg', 'nowhere.png', '--device', 'cpu')
    assert finished.returncode == 1
    assert 'nowhere.png' in finished.stderr and 'Traceback' not in finished.stderr


def test_faulty_pictures_do_not_stop_the_others(root: Path) -> None:
    folder = root / 'mixed'
    folder.mkdir()
    for name in (b'1.jpg', b'2\xe9.jpg', b'x' * 251 + b'.jpg'):
        (folder / os.fsdecode(name)).write_bytes((root / 'ant' / 'images' / '0.jpg').read_bytes())
    (folder / '0.jpg').write_bytes(b'')
    finished = run_demo(root, '--support', 'bee/images/0.jpg', 'bee/masks/0.png', '--out-dir', 'mixed_out', '--device',
                        'cpu', query='mixed')
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    assert 'error: 1 of 4 queries could not be segmented' in finished.stderr and 'mixed/0.jpg: ' in finished.stderr
    assert finished.stdout.count('% foreground') == 3 and '2\\udce9.jpg' in finished.stdout
    results = json.loads((root / 'mixed_out' / 'results.json').read_text())
    assert ['error' in result for result in results] == [True, False, False, False]
    assert all((root / result['overlay_path']).is_file() for result in results[1:])


def test_pictures_of_which_only_the_tags_tell_the_orientation(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(root / 'bee' / 'images' / '0.jpg') as image:
        image.rotate(180).save(root / 'turned.png', exif=exif)
    arguments = ('--support', 'turned.png', 'bee/masks/0.png', '--out-dir', 'turned', '--device', 'cpu')
    finished = run_demo(root, *arguments)
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    assert 'error: The image turned.png has the EXIF orientation 3' in finished.stderr
    finished = run_demo(root, *arguments, '--upright', '--max-pixels', '4799')
    assert finished.returncode == 1 and 'more than the limit of 4799' in finished.stderr
    finished = run_demo(root, *arguments, '--upright', '--max-pixels', '4800')
    assert finished.returncode == 0, finished.stderr


def test_explained_region(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(root)
    contributions = {}
    for region in ('all', 'box:0,0,30,20', 'box:1,2'):
        monkeypatch.setattr('sys.argv', [
            'image_demo.py', 'ant/images/0.jpg', 'tiny.py', 'tiny.pth', '--support', 'bee/images/0.jpg',
            'bee/masks/0.png', '--out-dir', 'region', '--device', 'cpu', '--explain', 'unmasked_affex', '--region',
            region])
        if region == 'box:1,2':
            with pytest.raises(SystemExit):
                image_demo.main()
            assert 'error: The region "box:1,2" is not one of' in capsys.readouterr().err
        else:
            image_demo.main()
            result, = json.loads((root / 'region' / 'results.json').read_text())
            contributions[region] = result['contributions'][0]['layers']
    assert contributions['all'] != contributions['box:0,0,30,20']
