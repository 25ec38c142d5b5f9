"""Which library builds for which GPU, and what is said where none is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lemore_core import inference as backends
from lemore_core.inference.backend import (
    BackendError,
    ServingRequest,
)
from lemore_core.inference.registry import how_to_install
from lemore_core.inference.tensorrt import libraries
from lemore_core.inference.tensorrt.libraries import (
    ComputeCapability,
    installed_libraries,
    library_for_capability,
    library_for_gpu,
    load_library,
)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says which packages are there, by module and version."""

    def install(**versions: str) -> None:
        names = ('NONE', 'CURRENT', 'SM75', 'SM86', 'SM120')
        capabilities = SimpleNamespace(__members__=dict.fromkeys(names))

        def import_module(name: str) -> SimpleNamespace:
            if versions[name] == 'broken':
                msg = 'libnvinfer.so.11: cannot open shared object file'
                raise ImportError(msg)
            return SimpleNamespace(__version__=versions[name], ComputeCapability=capabilities)

        find = importlib.util.find_spec
        fake = ('tensorrt', 'tensorrt_rtx')
        monkeypatch.setattr(
            importlib.util,
            'find_spec',
            lambda name: (name in versions or None) if name in fake else find(name),
        )
        modules = SimpleNamespace(import_module=import_module, util=importlib.util)
        monkeypatch.setattr(libraries, 'importlib', modules)

    return install


@pytest.mark.parametrize(
    ('versions', 'capability', 'package'),
    [
        ({'tensorrt': '11.4.0', 'tensorrt_rtx': '1.7.1'}, '8.6', 'tensorrt'),
        ({'tensorrt': '10.3.0'}, '8.7', 'tensorrt'),
        ({'tensorrt_rtx': '1.7.1'}, '8.6', 'tensorrt_rtx'),
        ({'tensorrt': 'broken', 'tensorrt_rtx': '1.7.1'}, '12.0', 'tensorrt_rtx'),
        ({'tensorrt': '8.6.1', 'tensorrt_rtx': '1.7.1'}, '7.5', 'tensorrt_rtx'),
    ],
)
def test_the_library_is_what_runs_on_the_gpu(
    installed: Callable[..., None], versions: dict[str, str], capability: str, package: str
) -> None:
    installed(**versions)
    library = library_for_gpu(ComputeCapability.parse(capability))
    assert (library.module, library.version) == (package, versions[package])


@pytest.mark.parametrize(
    ('versions', 'message'),
    [
        ({}, 'tensorrt is not installed: .*; tensorrt-rtx-cu13 is not installed: pip install'),
        (
            {'tensorrt': 'broken'},
            'cannot be imported .libnvinfer.*do it again: pip install tensorrt',
        ),
        ({'tensorrt': '8.6.1'}, '8.6.1 is too old, 10 or newer is needed'),
        (
            {'tensorrt_rtx': '1.7.1'},
            r'compute capabilities 7\.5, 8\.6, 12\.0, not 9\.0: .*tensorrt',
        ),
    ],
)
def test_what_is_missing_is_named(
    installed: Callable[..., None], versions: dict[str, str], message: str
) -> None:
    installed(**versions)
    with pytest.raises(BackendError, match=message):
        library_for_gpu(ComputeCapability(9, 0))


def test_building_ahead_needs_the_one_for_rtx(installed: Callable[..., None]) -> None:
    installed(tensorrt='11.4.0')
    with pytest.raises(BackendError, match='pip install tensorrt-rtx-cu13'):
        library_for_capability(ComputeCapability(8, 6))
    with pytest.raises(BackendError, match='pip install tensorrt-rtx-cu13'):
        load_library(libraries.TENSORRT_RTX)
    assert [library.version for library in installed_libraries()] == ['11.4.0']


def test_the_registry_names_the_packages(
    installed: Callable[..., None], untrained_checkpoint: Path
) -> None:
    installed()
    message = (
        f'needs the package tensorrt or tensorrt-rtx-cu13, which {re.escape(sys.executable)} '
        'does not find: pip install tensorrt$'
    )
    with pytest.raises(BackendError, match=message):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, 64, 128))


@pytest.mark.parametrize('kernel', ['5.15.148-tegra', '6.8.12-tegra'])
def test_on_a_jetson_tensorrt_comes_from_apt(
    installed: Callable[..., None],
    untrained_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernel: str,
) -> None:
    installed()
    monkeypatch.setattr('platform.release', lambda: kernel)
    advice = r'sudo apt install python3-libnvinfer, .* --system-site-packages'
    with pytest.raises(BackendError, match=advice):
        library_for_gpu(ComputeCapability(8, 7))
    with pytest.raises(BackendError, match=advice):
        backends.load('tensorrt', ServingRequest(untrained_checkpoint, 64, 128))
    assert 'wheel of your JetPack' in how_to_install('torch')
    assert how_to_install('onnx') == 'pip install onnx'


@pytest.mark.parametrize(('text', 'expected'), [('8.6', (8, 6)), ('86', (8, 6)), ('120', (12, 0))])
def test_a_capability_is_read(text: str, expected: tuple[int, int]) -> None:
    assert ComputeCapability.parse(text) == expected
    assert str(ComputeCapability.parse(text)) == f'{expected[0]}.{expected[1]}'


@pytest.mark.parametrize('text', ['', '8', 'sm_86', '8.6.1', '8,6', '-8.6', '8.66'])
def test_what_is_no_capability_is_named(text: str) -> None:
    with pytest.raises(BackendError, match='is no compute capability: give one such as 8'):
        ComputeCapability.parse(text)
