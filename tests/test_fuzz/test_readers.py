"""Any content in the files that readers get: loaded, or refused by a named error.

``make fuzz`` tries as many as one likes. A case that fails is left in ``.cache/fuzz/READER``;
move its folder to ``tests/data/fuzz/READER/WHAT_IT_IS``, where it is tried from then on.
"""

import shutil
from pathlib import Path

import pytest
from fuzz_readers import READERS, example, read, warm_up
from fuzzing import EDITS, JSON_EDITS, changed_json, mutate, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

for module in ('mmengine', 'cv2', 'safetensors', 'onnx', 'onnxruntime', 'yaml', 'mmpretrain'):
    pytest.importorskip(module)

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / 'tests/data/fuzz'
#: Cases whose mending stands out: name of the folder to the reason.
KNOWN = {}
CASES = sorted(path.relative_to(FOUND).as_posix() for path in FOUND.glob('*/*') if path.is_dir())


def written(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def warm(request, tmp_path):
    name = request.node.callspec.params.get('name') or request.node.callspec.params['case']
    name = name.partition('/')[0]
    warm_up(name, written(tmp_path / 'x', example(name)))


@pytest.mark.parametrize('name', sorted({*READERS} - {'pickle'}))  # which holds no tensor
def test_a_sound_example_is_read(name, tmp_path):
    function, _, _ = READERS[name]
    function(written(tmp_path / 'x', example(name)))


@pytest.mark.slow
@pytest.mark.parametrize('name', READERS)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 9), bytes_=EDITS, values=st.none() | JSON_EDITS)
def test_changed_files_are_read_or_refused(name, number, bytes_, values, tmp_path, warm):
    files = dict(example(name))
    changed = sorted(files)[number % len(files)]
    sound = files[changed]
    files[changed] = changed_json(sound, values) if values else mutate(sound, bytes_)
    if files[changed] == sound:
        files[changed] = mutate(sound, bytes_)
    folder = written(tmp_path / 'x', files)
    try:
        with watched():
            read(name, folder)
    except BaseException:
        kept = ROOT / '.cache' / 'fuzz' / name / 'last'
        written(kept, files)
        print(f'the case is kept in {kept}')
        raise


@pytest.mark.parametrize(
    'case',
    [
        pytest.param(case, marks=[pytest.mark.xfail(strict=True, reason=KNOWN[case])])
        if case in KNOWN
        else case
        for case in CASES
    ],
)
def test_what_was_found_stays_mended(case, tmp_path, warm):
    folder = shutil.copytree(FOUND / case, tmp_path / 'case')
    with watched():
        read(case.partition('/')[0], folder)
