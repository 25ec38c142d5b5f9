"""What the code imports, ``setup.py`` and ``package.xml`` ask for, and nothing else."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]

# imported module: the distribution that brings it, and its key in rosdep/python.yaml of
# ros/rosdistro where there is one
BROUGHT_BY: dict[str, tuple[str, str | None]] = {
    'PIL': ('pillow', 'python3-pil'),
    'av': ('av', None),
    'backports': ('rosbags', 'python3-rosbags-pip'),
    'bokeh': ('bokeh', 'python3-bokeh-pip'),
    'cv2': ('opencv-python-headless', 'python3-opencv'),
    'datumaro': ('datumaro', None),
    'filelock': ('filelock', 'python3-filelock'),
    'jinja2': ('jinja2', 'python3-jinja2'),
    'label_studio_sdk': ('label-studio-sdk', None),
    'lightning': ('lightning', None),
    'lz4': ('rosbags', 'python3-rosbags-pip'),
    'mcap': ('mcap', None),
    'numba': ('numba', 'python3-numba'),
    'numpy': ('numpy', 'python3-numpy'),
    'onnx': ('onnx', None),
    'onnxruntime': ('onnxruntime', 'python3-onnxruntime-pip'),
    'rerun': ('rerun-sdk', None),
    'rosbags': ('rosbags', 'python3-rosbags-pip'),
    'safetensors': ('safetensors', None),
    'torch': ('torch', 'python3-torch'),
    'torchmetrics': ('torchmetrics', None),
    'tqdm': ('tqdm', 'python3-tqdm'),
    'triton': ('torch', None),
    'yaml': ('PyYAML', 'python3-yaml'),
}
# what a robot needs; trainings and clusters are set up with pip
ON_A_ROBOT = ('torch', 'onnxruntime', 'bag', 'report', 'video')
# imported by their names in variables, as a part of another, or by others: Lightning writes
# TensorBoard's logs
NOT_IMPORTED_BY_NAME = {'tensorrt', 'tensorrt-rtx-cu13', 'tensorboard'}
STARTED = {'ros2launch', 'rviz2', 'ros2bag', 'rosbag2_storage_mcap'}


def test_every_pin_is_audited() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / 'requirements' / f'{name}.txt').read_text()
        return set(re.findall(r'^([\w.-]+==[\w.]+)', text.lower(), re.MULTILINE))

    (names,) = re.findall(r'^AUDITED := (.*)', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    asked = set().union(*map(pins, names.split()))
    assert not {pin for path in ROOT.glob('requirements/*.txt') for pin in pins(path.stem)} - asked


def imports(path: Path) -> Iterator[str]:
    """Return the top-level modules that a file imports when it runs."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
    ]
    for_types = {id(node) for guard in guards for node in ast.walk(guard)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition('.')[0]


@pytest.fixture(scope='module')
def imported() -> set[str]:
    """The modules that the tree imports and does not hold."""
    own_and_standard = {'lemore_core', 'lemore_ros', 'compression', *sys.stdlib_module_names}
    files = [
        path
        for top in ('lemore_core', 'lemore_ros', 'launch')
        for path in (ROOT / top).rglob('*.py')
    ]
    return {name for path in files for name in imports(path)} - own_and_standard


@pytest.fixture(scope='module')
def extras() -> dict[str, set[str]]:
    """The distributions that setup.py asks for, by extra; those always needed under ''."""
    arguments: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('setuptools.setup', arguments.update)
        runpy.run_path(str(ROOT / 'setup.py'))
    lists = {'': arguments['install_requires'], **arguments['extras_require']}
    return {
        extra: {re.split(r'[\[<>=;\s]', text)[0] for text in texts}
        for extra, texts in lists.items()
    }


def depends(*tags: str) -> set[str]:
    root = ET.parse(ROOT / 'package.xml').getroot()
    return {str(node.text) for tag in tags for node in root.iter(tag)}


def test_setup_asks_for_what_is_imported(imported: set[str], extras: dict[str, set[str]]) -> None:
    needed = {BROUGHT_BY[name][0] for name in imported if name in BROUGHT_BY}
    declared = set().union(*(names for extra, names in extras.items() if extra != 'test'))
    assert declared - NOT_IMPORTED_BY_NAME == needed


def test_package_xml_asks_for_what_a_robot_imports(
    imported: set[str], extras: dict[str, set[str]]
) -> None:
    on_a_robot = set().union(*(extras[extra] for extra in ('', *ON_A_ROBOT)))
    keys = {
        key
        for name, (distribution, key) in BROUGHT_BY.items()
        if name in imported and distribution in on_a_robot and key
    }
    of_ros = imported - set(BROUGHT_BY)
    assert depends('depend', 'exec_depend') == keys | of_ros | STARTED


def test_the_tests_run_where_rosdep_installed_what_they_need(extras: dict[str, set[str]]) -> None:
    # colcon runs pytest only where this extra is there
    assert extras['test'] == {'pytest', 'pytest-timeout', 'pytest-xdist'}
    assert depends('test_depend') >= {f'python3-{name}' for name in extras['test']}
