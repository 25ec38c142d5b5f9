"""Commands, files and parameters that the documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lemore_core.cli.main import COMMANDS
from lemore_ros.bags.cli.main import COMMANDS as BAG_COMMANDS

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text('utf-8'), re.MULTILINE))


@pytest.mark.parametrize(
    'path', [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))], ids=lambda path: path.name
)
def test_commands_and_files_exist(path: Path) -> None:
    text = path.read_text('utf-8')
    for command, known in (
        ('lemore', {*COMMANDS, 'bag'}),
        ('lemore bag', {*BAG_COMMANDS}),
        ('make', TARGETS),
    ):
        named = re.findall(rf'(?:^|`){command} ([a-z][\w-]*)', text, re.MULTILINE)
        assert set(named) <= known
    for link in re.findall(r'\]\((?!http|#)([^)#]+)', text):
        assert (path.parent / link).is_file(), link
