"""Package metadata of tinyvim_mm.

The OpenMMLab packages are extras, never requirements: the ``onedl`` family
and the upstream family install the same import names, and pip would mix them.
"""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a PEP 517 build does not run from here

from kernels.build import extension_arguments  # noqa: E402
from tinyvim_mm.core.environment import TEST_REQUIREMENTS, requirements  # noqa: E402
from tinyvim_mm.version import __version__  # noqa: E402

# What `mim`, mmengine's `_base_ = 'tinyvim_mm::...'` and mmpretrain look for in a package.
MIM = ('configs', 'tools', 'model-index.yml')
# Python runs each line of a .pth file that begins with `import` when it starts: so the mends of
# tinyvim_mm/startup.py are in force in the toolboxes' own tools, too, which import this package
# too late. Silent where the files were removed by hand, in parts.
_LINE = r'import os; exec("try:\n import _tinyvim_mm_startup\nexcept ImportError:\n pass")'
STARTUP = {
    'tinyvim_mm.pth': _LINE + '\n',
    '_tinyvim_mm_startup.py': (ROOT / 'tinyvim_mm' / 'startup.py').read_text(encoding='utf-8'),
}
# The set-up of a clone, which an installed package is none of.
_LEFT_OUT = {'__pycache__', 'setup_env'}


class BuildPython(build_py):
    """Puts configs, tools and the index of models into the package, as ``.mim``.

    And beside the package what runs at the start of Python.
    """

    def run(self) -> None:
        super().run()
        beside = Path(self.build_lib)
        if self.editable_mode:  # this folder becomes the wheel; `build_lib` is left out
            beside = Path(self.get_finalized_command('install').install_lib)
        beside.mkdir(parents=True, exist_ok=True)
        for name, text in STARTUP.items():
            (beside / name).write_text(text, encoding='utf-8')
        if self.editable_mode:
            self._link()
            return
        for name in MIM:
            for source in _files(ROOT / name):
                target = Path(self.build_lib, 'tinyvim_mm', '.mim', source.relative_to(ROOT))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def _link(self) -> None:
        # An editable installation is the clone itself. git is told to overlook the links.
        folder = ROOT / 'tinyvim_mm' / '.mim'
        try:
            folder.mkdir(exist_ok=True)
            (folder / '.gitignore').write_text('*\n', encoding='utf-8')
            for name in MIM:
                if not (folder / name).exists():
                    (folder / name).symlink_to(Path('..', '..', name), (ROOT / name).is_dir())
        except OSError as error:  # no symbolic links here
            print(f"*** _base_ = 'tinyvim_mm::...' will not work in configs: {error}")

    def get_outputs(self, include_bytecode: bool = True) -> list:
        if self.editable_mode:
            return super().get_outputs(include_bytecode)
        folder = Path(self.build_lib, 'tinyvim_mm', '.mim')
        copies = [folder / f.relative_to(ROOT) for name in MIM for f in _files(ROOT / name)]
        copies += [Path(self.build_lib, name) for name in STARTUP]
        return super().get_outputs(include_bytecode) + [str(copy) for copy in copies]


def _files(path: Path) -> list:
    """A file, or all files of a folder."""
    if path.is_file():
        return [path]
    return sorted(f for f in path.rglob('*') if f.is_file() and not _LEFT_OUT.intersection(f.parts))


extension = extension_arguments()
extension['cmdclass'] = {**extension.get('cmdclass', {}), 'build_py': BuildPython}

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
    package_data={'tinyvim_mm': ['py.typed', 'recipes/trained/*/*']},
    install_requires=['torch>=2.1', 'numpy'],
    extras_require={
        'onedl': list(requirements('onedl')),
        'openmmlab': list(requirements('openmmlab')),
        'test': TEST_REQUIREMENTS,
    },
    entry_points={'console_scripts': ['tinyvim-mm = tinyvim_mm.__main__:main']},
    **extension,
)
