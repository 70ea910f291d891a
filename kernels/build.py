"""How ``setup.py`` compiles the operators in ``kernels/csrc``.

The CPU part needs a C++ compiler, the CUDA part also nvcc and a CUDA build of
torch; no GPU need be present. Environment variables:

``TINYVIM_EXTENSION``
    ``auto`` (default): compile, and install the package without the extension,
    with a warning, if that fails. ``require``: a failure stops the installation.
    ``off``: do not compile.
``FORCE_CUDA``
    ``1``: compile for CUDA although no GPU is present. ``0``: do not, although one is.
``TORCH_CUDA_ARCH_LIST``
    Architectures, as for any torch extension. Default: the GPU present, or else
    7.5, 8.0, 8.6, 8.9, 9.0, 10.0, 12.0, as far as nvcc and torch have them, and PTX of
    the last.
``MAX_JOBS``
    Parallel compilations.
``TINYVIM_SANITIZE``
    For ``make test-asan``: what to give to ``-fsanitize=``, such as ``address,undefined``.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path('kernels') / 'csrc' / 'pytorch'
CUDA_ARCHITECTURES = ('7.5', '8.0', '8.6', '8.9', '9.0', '10.0', '12.0')

# One object for each instruction set from the same template; torch's headers are
# not in them, see common/cpu/scan_args.h.
_KERNEL_FLAGS = ['-std=c++17', '-O3', '-g0', '-ffp-contract=fast', '-fvisibility=hidden']
_X86_KERNELS: Dict[str, Tuple[int, List[str]]] = {
    'default': (4, []),
    'avx2': (8, ['-mavx2', '-mfma']),
    'avx512': (16, ['-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mfma']),
}
_OTHER_KERNELS: Dict[str, Tuple[int, List[str]]] = {'default': (4, [])}


def extension_arguments() -> Dict[str, Any]:
    """``ext_modules`` and ``cmdclass`` for setuptools; empty if nothing can be built."""
    wish = os.environ.get('TINYVIM_EXTENSION', 'auto')
    if wish not in ('auto', 'require', 'off'):
        raise SystemExit(f'TINYVIM_EXTENSION must be auto, require or off, not {wish!r}')
    if wish == 'off':
        return {}
    obstacle = _obstacle()
    if obstacle:
        if wish == 'require':
            raise SystemExit(f'tinyvim_mm: the operators cannot be compiled: {obstacle}')
        _warn(obstacle)
        return {}
    return {'ext_modules': [_extension()], 'cmdclass': {'build_ext': _build_class(wish)}}


def _obstacle() -> str:
    if os.name == 'nt':
        return 'the kernels use vector types of GCC and Clang, which MSVC lacks'
    try:
        import torch  # noqa: F401
    except ImportError:
        return (
            'torch is not importable during the build; install torch first, then '
            'use `pip install --no-build-isolation`'
        )
    compiler = shlex.split(os.environ.get('CXX', 'c++'))[0]
    if shutil.which(compiler) is None:
        return f'there is no C++ compiler ({compiler}); on Debian: apt-get install g++'
    return ''


def _x86() -> bool:
    return platform.machine().lower() in ('x86_64', 'amd64', 'i686')


def _with_cuda() -> bool:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    wish = os.environ.get('FORCE_CUDA')
    if wish == '0':
        return False
    forced = wish == '1'
    if torch.version.cuda is None or CUDA_HOME is None:
        if forced:
            missing = 'a CUDA build of torch' if torch.version.cuda is None else 'nvcc (CUDA_HOME)'
            raise SystemExit(f'FORCE_CUDA=1 needs {missing}')
        return False
    return forced or torch.cuda.is_available()


def _extension() -> Any:
    import torch
    from torch.utils.cpp_extension import CppExtension, CUDAExtension

    macros = [('TINYVIM_X86', None)] if _x86() else []
    # Found in the file by a user whose torch no longer fits and who cannot load it.
    macros.append(('TINYVIM_TORCH_VERSION', f'"{torch.__version__}"'))
    sources = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / SOURCES).glob('**/*.cpp'))
        if 'scan_kernels_' not in path.name and path.parent.name != 'cuda'
    ]
    threads = _thread_flags()
    flags = {'cxx': ['-O2', '-g0', '-fvisibility=hidden', *threads, *_sanitizer_flags()]}
    kind = CppExtension
    if _with_cuda():
        kind = CUDAExtension
        macros.append(('TINYVIM_WITH_CUDA', None))
        sources += [
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / SOURCES / 'cuda').iterdir())
            if path.suffix in ('.cpp', '.cu')
        ]
        flags['nvcc'] = ['-O3', '--expt-relaxed-constexpr', '-Xcompiler', '-fvisibility=hidden']
        if not os.environ.get('TORCH_CUDA_ARCH_LIST') and not torch.cuda.is_available():
            os.environ['TORCH_CUDA_ARCH_LIST'] = _default_architectures()
        # Told by `tinyvim-mm doctor` where the GPU has another one.
        macros.append(('TINYVIM_CUDA_ARCHITECTURES', f'"{_cuda_architectures()}"'))
    return kind(
        'tinyvim_mm._C',
        sources,
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=[*threads, *_sanitizer_flags()[:1]],
    )


def _default_architectures() -> str:
    """Of :data:`CUDA_ARCHITECTURES` those that nvcc and torch know, and PTX of the last."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    nvcc = Path(CUDA_HOME, 'bin', 'nvcc')
    listed = subprocess.run([str(nvcc), '--list-gpu-arch'], capture_output=True, text=True).stdout
    known = [a for a in CUDA_ARCHITECTURES if f'compute_{a.replace(".", "")}' in listed.split()]
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 7):  # it refuses newer ones
        known = [a for a in known if float(a) < 10]
    return ';'.join(known) + '+PTX' if known else '8.0;8.6+PTX'


def _cuda_architectures() -> str:
    """What torch is going to compile for: ``8.0;9.0+PTX``."""
    import torch

    wish = os.environ.get('TORCH_CUDA_ARCH_LIST')
    if wish:
        return ';'.join(wish.replace(';', ' ').split())
    present = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return ';'.join(f'{major}.{minor}' for major, minor in sorted(present))


def _thread_flags() -> List[str]:
    """What makes ``at::parallel_for``, a template of torch's headers, use threads."""
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'probe.cpp')
        source.write_text('#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n')
        probe = subprocess.run(
            [*compiler, '-fopenmp', str(source), '-o', str(source.with_suffix(''))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    if probe.returncode == 0:
        return ['-fopenmp']
    print(
        f'\n*** {" ".join(compiler)} compiles no OpenMP (-fopenmp): the scan will run in one '
        'thread on CPUs\n',
        file=sys.stderr,
        flush=True,
    )
    return []


def _sanitizer_flags() -> List[str]:
    kinds = os.environ.get('TINYVIM_SANITIZE')
    return [f'-fsanitize={kinds}', '-fno-omit-frame-pointer', '-g1'] if kinds else []


def _build_class(wish: str) -> type:
    from torch.utils.cpp_extension import BuildExtension

    class Build(BuildExtension):
        """Compiles the kernels of each instruction set, then the rest with torch's rules."""

        def __init__(self, *args, **kwargs) -> None:
            # The library registers operators and holds no Python module, so one
            # file serves every Python version.
            super().__init__(*args, no_python_abi_suffix=True, **kwargs)

        def build_extensions(self) -> None:
            try:
                self.extensions[0].extra_objects += self._kernel_objects()
                super().build_extensions()
            except Exception as error:
                if wish == 'require':
                    raise
                for extension in self.extensions:
                    Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
                self.extensions = []
                _warn(f'the compilation failed: {error}')

        def _kernel_objects(self) -> List[str]:
            objects = []
            for name, (width, flags) in (_X86_KERNELS if _x86() else _OTHER_KERNELS).items():
                objects += self.compiler.compile(
                    [str(SOURCES / 'cpu' / f'scan_kernels_{name}.cpp')],
                    output_dir=self.build_temp,
                    macros=[('TINYVIM_VECTOR_WIDTH', str(width))]
                    + ([('TINYVIM_X86', None)] if _x86() else []),
                    extra_postargs=_KERNEL_FLAGS + flags + _sanitizer_flags(),
                )
            return objects

    return Build


def _warn(obstacle: str) -> None:
    print(
        f'\n*** tinyvim_mm is installed WITHOUT its compiled operators: {obstacle}\n'
        '*** The scan runs in plain PyTorch, which is slower. '
        '`python -m tinyvim_mm doctor` tells what works.\n',
        file=sys.stderr,
        flush=True,
    )
