"""Arrows point one way: lemore_ros -> lemore_core, and cli -> segmenter -> … -> model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

ROS = {'rclpy', 'sensor_msgs', 'std_msgs', 'launch', 'launch_ros', 'ament_index_python'}
# from the top to the bottom; a module imports from its own layer or a lower one
LAYERS = [
    ('cli',),
    ('distill',),
    ('teacher',),
    ('training', 'evaluation', 'benchmark', 'predict', 'pick'),
    ('segmenter', 'segmenter_options'),
    ('inference',),
    ('export',),
    ('sources',),
    ('data', 'checkpoint'),
    ('familiarity',),
    ('images',),
    ('segmentation',),
    ('model', 'taxonomy'),
    ('common', 'mailbox'),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f'{path}: relative import'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob('*.py'))


@pytest.mark.parametrize('path', sources('lemore_core'), ids=str)
def test_the_core_imports_no_ros_and_nothing_above_itself(path: Path) -> None:
    parts = path.relative_to(ROOT / 'lemore_core').with_suffix('').parts
    for name in imports(path):
        top, *rest = name.split('.')
        assert top not in ROS | {'lemore_ros'}, f'{path} imports {name}'
        if top == 'lemore_core' and rest and parts[0] in RANK and rest[0] in RANK:
            assert RANK[rest[0]] >= RANK[parts[0]], f'{path} imports {name}, which lies above it'


@pytest.mark.parametrize('path', sources('lemore_ros'), ids=str)
def test_the_ros_layer_knows_no_backend(path: Path) -> None:
    forbidden = ('torch', 'onnxruntime', 'lemore_core.inference', 'lemore_core.model')
    for name in imports(path):
        assert not name.startswith(forbidden), f'{path} imports {name}'


def test_every_module_of_the_core_has_a_layer() -> None:
    names = {p.stem for p in (ROOT / 'lemore_core').iterdir() if p.stem[0] not in '_.'}
    assert names - {'py', 'weights'} <= set(RANK)


@pytest.mark.parametrize(
    ('command', 'heavy'),
    [
        (['--help'], ['torch', 'numba', 'cv2', 'onnxruntime', 'numpy']),
        (['info'], ['torch', 'numba']),
    ],
)
def test_light_commands_import_nothing_heavy(
    command: list[str], heavy: list[str], monkeypatch: pytest.MonkeyPatch, run_python: Any
) -> None:
    code = (
        'import os, sys; from lemore_core.cli.main import main\n'
        # threads that wait must not spin
        'assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"\n'
        f'try: main({command})\n'
        'except SystemExit: pass\n'
        f'heavy = set({heavy}) & set(sys.modules)\n'
        'sys.exit(f"imported {heavy}" if heavy else 0)'
    )
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    run_python('-c', code)
