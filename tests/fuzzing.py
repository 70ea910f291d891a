"""Changes of files, and an eye on what a reader does beside reading."""

import contextlib
import copy
import json
import os
import sys
from pathlib import Path

from hypothesis import strategies as st

#: More than this, in MiB, no reader may take for a file of a few kilobytes. A picture of the
#: largest size that is decoded (100 million pixels) takes 300, and as much in between.
MOST_MIB = 700
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_FORBIDDEN = {
    'os.system',
    'os.exec',
    'os.posix_spawn',
    'subprocess.Popen',
    'socket.connect',
    'os.remove',
    'os.rename',
    'os.rmdir',
    'os.mkdir',
    'shutil.rmtree',
    'os.symlink',
}
_seen = None

# What breaks parsers: lone bits, sizes at the limits, opcodes of pickles, cuts.
PIECES = [
    b'\xff' * 8,
    b'\0' * 8,
    b'\x7f',
    b'R',
    b'cos\nsystem\n',
    b'(',
    b'[',
    b'{',
    b'"',
    b'\n',
    b'-1',
    b'NaN',
    b'1e999',
    b'../' * 3,
    b'9' * 30,
    b'\xf0\x9f\x92\xa9',
    b'<',
    b'&x;',
    b'=',
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(['flip', 'set', 'insert', 'delete', 'cut']),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(PIECES)),
    ),
    min_size=1,
    max_size=6,
)
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1.5,
        10**30,
        float('nan'),
        float('inf'),
        '',
        '1',
        'x',
        '../../../etc/hosts',
        '/etc/hosts',
        'a\0b',
        '\ud800',
        [],
        {},
        [[]],
        [None],
        {'a': 1},
        [1, 2, 3, 4],
        'F8_E4M3',
        'F64',
        'I4',
        2**62,
        -(2**63),
    ]
)
JSON_EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(['set', 'delete', 'double', 'rename']), ODD),
    min_size=1,
    max_size=3,
)


def mutate(data, steps):
    data = bytearray(data)
    for place, kind, piece in steps:
        at = int(place * len(data))
        if kind == 'flip' and data:
            data[at] ^= piece[0] or 1
        elif kind == 'set':
            data[at : at + len(piece)] = piece
        elif kind == 'insert':
            data[at:at] = piece
        elif kind == 'delete':
            del data[at : at + len(piece)]
        elif kind == 'cut':
            del data[at:]
    return bytes(data)


def mutate_json(content, steps):
    """Change what a JSON text says, not how it is written."""
    for number, kind, value in steps:
        places = list(_places(content))
        if not places:
            break
        node, key = places[number % len(places)]
        if kind == 'set':
            node[key] = copy.deepcopy(value)  # else it may come to lie within itself
        elif kind == 'delete':
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif kind == 'rename':
            node[str(value)] = node.pop(key)
    return content


def _places(node):
    keys = (
        list(node) if isinstance(node, dict) else range(len(node) if isinstance(node, list) else 0)
    )
    for key in keys:
        yield node, key
        yield from _places(node[key])


def changed_json(data, steps):
    """A file of JSON, or of safetensors, changed by :func:`mutate_json`; others as they are."""
    front = 8 if data[8:9] == b'{' and data[:1] != b'{' else 0
    end = 8 + int.from_bytes(data[:8], 'little') if front else len(data)
    try:
        content = json.loads(data[front:end])
    except ValueError:
        return data
    text = json.dumps(mutate_json(content, steps)).encode()
    return (len(text).to_bytes(8, 'little') if front else b'') + text + data[end:]


def _hook(event, arguments):
    if _seen is None:
        return
    if event in _FORBIDDEN:
        _seen.append((event, str(arguments)[:100]))
    elif event == 'open':
        path, _, flags = arguments
        harmless = isinstance(path, int) or '__pycache__' in str(path) or str(path) == os.devnull
        if flags & _WRITING and not harmless:
            _seen.append((event, path))


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched():
    """Raise an AssertionError if files are written, programs started, or memory is taken."""
    global _seen
    before = _peak(reset=True)
    _seen = found = []
    try:
        yield
    finally:
        _seen = None
    assert not found, f'a reader did what none should: {found}'
    taken = _peak() - before
    assert taken <= MOST_MIB, f'a reader took {taken:.0f} MiB of memory'


def _peak(reset=False):
    """Most memory of this process, in MiB, since the last reset; 0 where nobody can say."""
    try:
        if reset:
            Path('/proc/self/clear_refs').write_text('5')
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return 0.0
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))
