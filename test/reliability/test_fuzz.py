"""Every fuzz target with its seeds, those that once failed among them, and a few mutations."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed')

from test.reliability.fuzz import targets

MUTATIONS = {'bag': 3, 'arguments': 100, 'card': 10, 'image_file': 8}


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


@pytest.mark.parametrize('name', ['message', 'image_file', 'yaml_file'])
def test_any_bytes(name: str) -> None:
    generator = random.Random(2)
    for _ in range(200):
        targets.TARGETS[name](generator.randbytes(generator.randrange(400)))
