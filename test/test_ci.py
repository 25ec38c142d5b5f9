"""Workflows, hooks, forms and guides name versions, files and commands that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = [ROOT / '.pre-commit-config.yaml', *sorted((ROOT / '.github').rglob('*.yml'))]
WORKFLOW = ROOT / '.github' / 'workflows' / 'test.yml'
MAKEFILE = (ROOT / 'Makefile').read_text(encoding='utf-8')
TARGETS = set(re.findall(r'^(\w+):', MAKEFILE, re.MULTILINE))
GUIDE = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def pinned(package: str) -> str:
    text = (ROOT / 'requirements' / 'test.txt').read_text(encoding='utf-8')
    (version,) = re.findall(rf'^{package}==(\S+)$', text, re.MULTILINE)
    return str(version)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_paths_and_make_targets_exist(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    assert load(path)
    named = set(re.findall(r'(?:requirements|\.ci|test|docs)/[\w./*-]*\w', text))
    for name in named:
        assert list(ROOT.glob(name)), f'{path.name} names {name}'
    assert (
        set(re.findall(r'\bmake (\w+)', re.sub(r'wheels that make installs', '', text))) <= TARGETS
    )


def test_the_workflow_runs_what_every_change_must_pass() -> None:
    jobs = load(WORKFLOW)['jobs']
    assert {'run': '.ci/run'} in jobs['test']['steps']
    script = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
    assert re.findall(r'^make (\w+)$', script, re.MULTILINE) == ['test', 'demo']
    commands = '\n'.join(step.get('run', '') for step in jobs['ros']['steps'])
    for command in ('rosdep install', 'colcon build', 'colcon test', 'colcon test-result'):
        assert command in commands


def test_the_hooks_are_of_the_versions_that_make_installs() -> None:
    repositories = load(FILES[0])['repos']
    ruff = next(entry for entry in repositories if entry['repo'].endswith('/ruff-pre-commit'))
    assert ruff['rev'] == f'v{pinned("ruff")}'
    (mypy,) = (hook for entry in repositories for hook in entry['hooks'] if hook['id'] == 'mypy')
    # of the environment, which holds the pinned one
    assert mypy['entry'] == '.venv/bin/mypy'
    assert 'VENV := .venv\n' in MAKEFILE
    assert pinned('mypy')


def test_the_guide_names_what_exists() -> None:
    assert set(re.findall(r'\bmake (\w+)', GUIDE)) <= TARGETS
    for path in re.findall(r'`((?:lemore_|test/|\.ci/|docs/)[\w./]*)`|\]\(([\w./]+)\)', GUIDE):
        assert (ROOT / ''.join(path)).exists(), path


def test_the_drawing_is_what_its_script_draws() -> None:
    docs = ROOT / 'docs'
    drawing = runpy.run_path(str(docs / 'draw_architecture.py'))['draw']()
    assert drawing == (docs / 'architecture.svg').read_text(encoding='utf-8')
