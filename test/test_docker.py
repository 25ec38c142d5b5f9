"""Every path and package that a Dockerfile or docs/jetson.md names is one of this repository."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / 'docker').glob('Dockerfile*'))
JETSON = (ROOT / 'docs' / 'jetson.md').read_text(encoding='utf-8')


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, each in one line."""
    lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line[:1] != '#']
    joined = '\n'.join(lines).replace('\\\n', ' ')
    return [(name, rest) for name, _, rest in (x.partition(' ') for x in joined.splitlines() if x)]


@pytest.fixture(scope='module')
def packages() -> set[str]:
    """The distributions that setup.py asks for, in any extra."""
    arguments: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('setuptools.setup', arguments.update)
        runpy.run_path(str(ROOT / 'setup.py'))
    texts = sum(arguments['extras_require'].values(), arguments['install_requires'])
    return {re.split(r'[\[<>=;\s]', text)[0] for text in texts}


def pip_packages(command: str) -> set[str]:
    """Return what a ``pip install`` command installs."""
    words = shlex.split(command.partition('#')[0])
    words = words[words.index('install') + 1 :]
    options = {i for i, word in enumerate(words) if word.endswith('index-url')}
    chosen = [w for i, w in enumerate(words) if i not in options and i - 1 not in options]
    return {re.split(r'[<>=]', word)[0] for word in chosen}


def pip_commands(text: str) -> list[str]:
    return re.findall(r'pip install [^\n&`]*', text)


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [path.suffix for path in DOCKERFILES] == ['', '.cuda', '.jetson']
    named = set(re.findall(r'docker/[\w.]+', JETSON))
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize('path', DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_names_what_there_is(path: Path, packages: set[str]) -> None:
    keys = {node.text for node in ET.parse(ROOT / 'package.xml').getroot().iter('exec_depend')}
    found = instructions(path)
    assert found[0][0] == 'FROM'
    for name, rest in found:
        if name == 'COPY':
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
        if name == 'CMD':
            *_, package, launch = json.loads(rest)
            assert (package, (ROOT / 'launch' / launch).is_file()) == ('lemore_ros', True)
        for command in pip_commands(rest) if name == 'RUN' else ():
            assert pip_packages(command) <= packages
        for skipped in re.findall(r'--skip-keys "([^"]*)"', rest):
            assert set(skipped.split()) <= keys
    (entry,) = (json.loads(rest) for name, rest in found if name == 'ENTRYPOINT')
    assert f'docker{entry[0]} {entry[0]}' in [rest for name, rest in found if name == 'COPY']


def test_the_entry_point_may_be_run() -> None:
    assert (ROOT / 'docker' / 'entrypoint.sh').stat().st_mode & 0o111


def test_the_jetson_page_names_packages_of_this_one(packages: set[str]) -> None:
    commands = pip_commands(JETSON)
    assert len(commands) > 2
    for command in commands:
        assert pip_packages(command) <= packages
