"""The README's table of the recipes, made of the metafiles."""

from typing import Any, Dict, List, Mapping, Sequence

from ..core.tables import markdown

#: The table stands between ``<!-- models -->`` and ``<!-- end -->``.
MARKER = 'models'

_COSTS = ('Parameters (M)', 'GMACs without the scan', 'GMACs with the scan', 'Images/s')


def published_table(metafiles: Sequence[Mapping[str, Any]]) -> str:
    """A row of Markdown for each recipe, with all sizes of its backbone.

    The order of the collections in ``metafiles``, which are their contents, is that of the rows.
    """
    collections = {c['Name']: c for content in metafiles for c in content['Collections']}
    papers = list(dict.fromkeys(c['Paper']['URL'] for c in collections.values()))
    groups: Dict[str, List[Mapping[str, Any]]] = {}
    for content in metafiles:
        for entry in content['Models']:
            backbone = entry['Metadata']['Backbone']
            family = backbone.partition('_')[0]
            groups.setdefault(entry['Config'].replace(backbone, f'{family}_*'), []).append(entry)

    def paper(group: Sequence[Mapping[str, Any]]) -> int:
        return papers.index(collections[group[0]['In Collection']]['Paper']['URL'])

    rows = []
    for pattern, group in sorted(groups.items(), key=lambda item: paper(item[1])):
        group = sorted(group, key=lambda e: (e['Metadata']['Parameters'], e['Metadata']['FLOPs']))
        sizes = [entry['Metadata']['Backbone'].partition('_')[2] for entry in group]
        configs = pattern.replace('*', sizes[0] if len(sizes) == 1 else f'{{{",".join(sizes)}}}')
        data = collections[group[0]['In Collection']]['Metadata']['Training Data']
        published = _scores(group, 'published') or 'none'
        measured = _scores(group, 'measured') or 'not measured'
        rows.append((f'`{configs}`', data, published, measured))
    return '\n'.join(markdown(('configs', 'data', 'published', 'measured'), rows))


def _scores(group: Sequence[Mapping[str, Any]], source: str) -> str:
    """``'box AP 40.0 / –'``: each metric with the figures of all sizes, a dash for none."""
    cells: Dict[str, List[str]] = {}
    for place, entry in enumerate(group):
        for result in entry.get('Results') or []:
            note = result['Note']
            if not note.startswith(source):
                continue
            for metric, figure in result['Metrics'].items():
                if metric in _COSTS:
                    continue
                figures = cells.setdefault(metric, ['–'] * len(group))
                if note.startswith('published with the release'):
                    figures[place] += f' ({figure:.1f} with the release)'
                else:
                    figures[place] = f'{figure:.1f}'
    return ', '.join(f'{metric} {" / ".join(figures)}' for metric, figures in cells.items())
