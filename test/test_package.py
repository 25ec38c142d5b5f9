"""What ``pip install .`` and colcon put where."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import EntryPoint
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import lemore_core

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Return the wheel that the tree builds, opened."""
    folder = tmp_path_factory.mktemp('wheel')
    tree = folder / 'tree'
    hidden = shutil.ignore_patterns('.*', 'out', 'build', 'install', 'log', '__pycache__')
    shutil.copytree(ROOT, tree, ignore=hidden)
    command = [sys.executable, '-m', 'pip', 'wheel', str(tree), '--no-deps', '--no-index']
    subprocess.run(
        [*command, '--no-build-isolation', '-w', str(folder)], check=True, capture_output=True
    )
    (path,) = folder.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    names = {re.sub(r'^[^/]+\.data/data/share/lemore_ros/', '', name) for name in wheel.namelist()}
    files = {
        str(path.relative_to(ROOT))
        for top in ('lemore_core', 'lemore_ros', 'launch', 'config')
        for path in (ROOT / top).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert files <= names
    assert any(name.endswith('/resource_index/packages/lemore_ros') for name in names)


def test_the_wheel_holds_no_tests_and_no_camvid_images(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if name.startswith('test/') or '.webp' in name]


def test_the_wheel_brings_the_commands(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith('/entry_points.txt'))
    declared = ConfigParser()
    declared.read_string(wheel.read(name).decode())
    # all of them land on the PATH: none may have a name that other programs have
    scripts = {'lemore', 'lemore_demo', 'segmentation_node', 'lemore_view', 'measure_latency'}
    assert set(declared['console_scripts']) == scripts
    for group in ('console_scripts', 'lemore.commands', 'lemore.images'):
        for target in declared[group].values():
            assert EntryPoint('', target, group).load()


def test_the_version_is_said_once_for_all() -> None:
    version = ET.parse(ROOT / 'package.xml').findtext('version')
    assert version == lemore_core.__version__
    assert f"version='{version}'" in (ROOT / 'setup.py').read_text(encoding='utf-8')


def test_every_shipped_weight_is_small() -> None:
    weights = list((ROOT / 'lemore_core' / 'weights').glob('*'))
    assert weights
    for path in weights:
        assert path.suffix in {'.safetensors', '.onnx'}
        assert path.stat().st_size < 8e6
