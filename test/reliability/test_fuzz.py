"""Every fuzz target with the seeds, those that once failed among them, and a few mutations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed')
pytest.importorskip('hypothesis', reason='hypothesis is not installed')

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

MUTATIONS = {'bag': 3, 'arguments': 10, 'onnx_card': 10, 'image_file': 15}


def _load() -> ModuleType:
    # tests are no package that could be imported from
    path = Path(__file__).parent / 'fuzz' / 'targets.py'
    spec = spec_from_file_location('fuzz_targets', path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


targets = _load()


@pytest.fixture(autouse=True, scope='module')
def _cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(targets.FOLDER))
        patch.chdir(targets.FOLDER)
        yield


@pytest.mark.parametrize('name', targets.TARGETS)
def test_seeds_and_mutations(name: str) -> None:
    generator = random.Random(1)
    for seed in targets.seeds(name):
        targets.TARGETS[name](seed)
        for _ in range(MUTATIONS.get(name, 50)):
            targets.TARGETS[name](targets.mutated(seed, generator))


@pytest.mark.parametrize(
    'name', ['image_message', 'compressed_message', 'camera_info', 'depth_message', 'yaml_file']
)
def test_any_bytes(name: str) -> None:
    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        targets.TARGETS[name](data)

    run()
