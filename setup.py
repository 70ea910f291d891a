"""Package metadata of tinyvim_mm.

The OpenMMLab packages are extras, never requirements: the ``onedl`` family
and the upstream family install the same import names, and pip would mix them.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a PEP 517 build does not run from here

from kernels.build import extension_arguments  # noqa: E402
from tinyvim_mm.environment import TEST_REQUIREMENTS, requirements  # noqa: E402
from tinyvim_mm.version import __version__  # noqa: E402

setup(
    name='tinyvim_mm',
    version=__version__,
    description='TinyViM backbone, SS2D operator and recipes for mmdet, mmsegmentation and '
    'mmpretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['tinyvim_mm', 'tinyvim_mm.*']),
    install_requires=['torch>=2.1', 'numpy'],
    extras_require={
        'onedl': list(requirements('onedl')),
        'openmmlab': list(requirements('openmmlab')),
        'test': TEST_REQUIREMENTS,
    },
    **extension_arguments(),
)
