"""Settings as a config that a person reads: each with the reason for it."""

import textwrap
from typing import Any, Dict, List, NamedTuple

_WIDTH = 100


class Setting(NamedTuple):
    """A setting by its dotted key, and why it is so."""

    key: str
    value: Any
    why: str = ''


class Code(str):
    """A value that stands in the config as it is: the name of a variable."""

    def __repr__(self) -> str:
        return str(self)


def config_text(title: str, base: str, settings: List[Setting]) -> str:
    """A config that inherits from ``base``, in Python."""
    tree: Dict[str, Any] = {}
    for setting in settings:
        node = tree
        *parents, last = setting.key.split('.')
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = setting
    blocks = [f'"""{title}"""', f'_base_ = {base!r}']
    blocks += ['\n'.join(_lines(key, node, 0)) for key, node in tree.items()]
    return '\n\n'.join(blocks) + '\n'


def _lines(key: str, node: Any, depth: int) -> List[str]:
    indent, comma = '    ' * depth, ',' if depth else ''
    sign = '=' if depth else ' = '
    if isinstance(node, Setting):
        lines = []
        if node.why:
            width = _WIDTH - len(indent) - 2
            lines = [f'{indent}# {line}' for line in textwrap.wrap(node.why, width)]
        return [*lines, *_value(f'{indent}{key}{sign}', node.value, depth, comma)]
    lines = [f'{indent}{key}{sign}dict(']
    for name, child in node.items():
        lines += _lines(name, child, depth + 1)
    return [*lines, f'{indent}){comma}']


def _value(start: str, value: Any, depth: int, comma: str) -> List[str]:
    short = f'{start}{_repr(value)}{comma}'
    if len(short) <= _WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return [short]
    indent = '    ' * (depth + 1)
    if isinstance(value, dict):
        opening, closing = 'dict(', ')'
        items = [(f'{indent}{key}=', child) for key, child in value.items()]
    else:
        opening, closing = ('[', ']') if isinstance(value, list) else ('(', ')')
        items = [(indent, child) for child in value]
    lines = [f'{start}{opening}']
    for name, child in items:
        lines += _value(name, child, depth + 1, ',')
    return [*lines, f'{"    " * depth}{closing}{comma}']


def _repr(value: Any) -> str:
    if isinstance(value, dict):
        return f'dict({", ".join(f"{key}={_repr(child)}" for key, child in value.items())})'
    if isinstance(value, (list, tuple)):
        inner = ', '.join(map(_repr, value))
        one = ',' * (isinstance(value, tuple) and len(value) == 1)
        return f'[{inner}]' if isinstance(value, list) else f'({inner}{one})'
    return repr(value)
