"""A real Ray cluster of two raylets, one of which dies at work."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('ray', reason='ray is not installed')

import ray
from ray.cluster_utils import Cluster

from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.bags.segmentation.segment_bags import BagSegmentation, find_jobs
from test.bags.conftest import ROOT, BagFolder, drive, files

# on a machine that is busy otherwise, Ray's processes take a minute to start
pytestmark = pytest.mark.timeout(480)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('RAY_USAGE_STATS_ENABLED', '0')
    monkeypatch.delenv('RAY_ADDRESS', raising=False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # a machine that dies is known to be dead after a few seconds instead of half a minute
    monkeypatch.setenv('RAY_health_check_period_ms', '500')
    monkeypatch.setenv('RAY_health_check_failure_threshold', '3')
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})
    ray.init(address=cluster.address, logging_level=logging.WARNING, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_one_of_two_machines_dies_and_the_bytes_are_the_same(
    cluster: Any, bags: BagFolder, options: SegmentOptions
) -> None:
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    # parts enough that the second machine's worker still finds some when it has started
    source = bags.write(drive(200))
    one, many = bags.folder / 'one' / 'out', bags.folder / 'many' / 'out'
    BagSegmentation(find_jobs([source], one, options), resume=False).segment(lambda _: None)
    made: list[int] = []
    both: list[bool] = []
    killer = threading.Thread(target=_kill_at_work, args=(cluster, other, many.parent, made, both))
    killer.start()
    run = BagSegmentation(find_jobs([source], many, options), resume=False)
    ((_, result),) = run.segment(made.append, ray=cluster.address)
    killer.join()
    assert result.frames == 200
    assert both == [True]
    deadline = time.monotonic() + 60
    while sum(node['Alive'] for node in ray.nodes()) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert files(many) == files(one)


def test_without_a_cluster_one_is_made(
    bags: BagFolder, options: SegmentOptions, command: Callable[..., subprocess.Popen[str]]
) -> None:
    source = bags.write(drive(12))
    one, spread = bags.folder / 'one' / 'out', bags.folder / 'spread' / 'out'
    BagSegmentation(find_jobs([source], one, options), resume=False).segment(lambda _: None)
    process = command(source, '-o', spread, '--ray', 'auto')
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert files(spread) == files(one)


@pytest.mark.parametrize('address', ['127.0.0.1:1', 'ray://127.0.0.1:1', 'nowhere', '127.0.0.1:x'])
def test_a_cluster_that_is_not_there_is_named(
    bags: BagFolder, command: Callable[..., subprocess.Popen[str]], address: str
) -> None:
    process = command(bags.write(drive(2)), '-o', bags.folder / 'out', '--ray', address)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert f'there is no Ray cluster at {address}' in errors


def _kill_at_work(cluster: Any, node: Any, folder: Path, made: list[int], both: list[bool]) -> None:
    """Kill a machine while both write, and say whether they did."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        writing = {path.name.rpartition('-')[2] for path in folder.glob('.*/bag/*.writing-*')}
        if len(made) >= 2 and len(writing) == 2:
            both.append(True)
            break
        time.sleep(0.002)
    cluster.remove_node(node, allow_graceful=False)
