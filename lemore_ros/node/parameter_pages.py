"""Write the commented YAML file and the documentation page of the parameters.

``python -m lemore_ros.node.parameter_pages`` writes both into the source tree.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from lemore_ros.node.parameters import DEFAULTS, LIVE, PARAMETERS

PAGE = """\
# Parameters of the segmentation node

Written by `python -m lemore_ros.node.parameter_pages`, from the descriptors that
`ros2 param describe /lemore_segmentation NAME` shows. `config/segmentation.yaml` lists the same with
their defaults: copy it, and give the copy as launch argument `params_file`. *Live* ones may change
while the node runs, the others are read at start.
"""


def parameters_yaml() -> str:
    """Return a parameter file with the default and meaning of every parameter."""
    lines = ['# Every parameter of the segmentation node with its default.', '', '/**:']
    lines.append('  ros__parameters:')
    for name, entry in PARAMETERS.items():
        when = 'may be set while the node runs' if name in LIVE else 'read at start'
        notes = f'{entry.text} Allowed: {entry.allowed}; {when}.'
        lines.append('')
        lines += [f'    # {line}' for line in textwrap.wrap(notes, 90)]
        lines.append(f'    {name}: {json.dumps(DEFAULTS[name])}')
    return '\n'.join(lines) + '\n'


def parameters_page() -> str:
    """Return ``docs/parameters.md``: a Markdown table of the parameters."""
    lines = [PAGE, '| parameter | default | allowed | | meaning |', '|---|---|---|---|---|']
    for name, entry in PARAMETERS.items():
        cells = (
            f'`{name}`',
            f'`{json.dumps(DEFAULTS[name])}`',
            entry.allowed,
            'live' if name in LIVE else 'at start',
            entry.text,
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Write the generated files into the source tree."""
    root = Path(__file__).parents[2]
    pages = {'config/segmentation.yaml': parameters_yaml(), 'docs/parameters.md': parameters_page()}
    for name, text in pages.items():
        (root / name).write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
