"""What a running node says of itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.tensorrt import build
from lemore_core.inference.tensorrt.build import EngineBuild
from lemore_ros.node import lifecycle

NAME = '/lemore_segmentation'


@pytest.mark.usefixtures('active')
def test_they_come_once_a_second_although_simulated_time_stands_still(graph: Any) -> None:
    # nobody publishes /clock
    assert graph.set(use_sim_time=True)[0].successful
    found = graph.collect(DiagnosticArray, '/diagnostics')
    times: list[float] = []

    def four() -> bool:
        if len(found) > len(times):
            times.append(time.monotonic())
        return len(times) >= 4

    graph.wait_for(four)
    # the machine may be late with one; a clock that runs wild or stands still is not one second
    assert 2.0 < times[3] - times[0] < 6.0
    (status,) = found[-1].status
    assert (status.name, status.hardware_id) == ('lemore_segmentation: segmentation', 'cpu')
    assert status.message == 'nobody subscribes to its outputs'
    assert status.level == DiagnosticStatus.OK
    assert found[-1].header.stamp.sec == 0
    assert 'preparing' in {pair.key for pair in status.values}


def test_a_lost_gpu_is_the_last_thing_that_is_said(
    graph: Any, active: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    error = GpuContextLostError('GPU context lost: cuda:0 failed on a network: CUDA error')

    def lose(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, '_exit', codes.append)
    monkeypatch.setattr(active.segmenter, 'segment_batch', lose)
    log = graph.log()
    found = graph.collect(DiagnosticArray, '/diagnostics')
    labels = graph.labels()
    graph.film(graph.publisher(), graph.image(1), lambda: codes, 'the end')
    assert set(codes) == {lifecycle.DEVICE_LOST}
    assert not labels
    statuses = graph.wait_for(lambda: [s for m in found for s in m.status if 'GPU' in s.message])
    assert statuses[0].level == DiagnosticStatus.ERROR
    assert str(error) in statuses[0].message
    fatal = graph.wait_for(lambda: [m.msg for m in log if m.level == 50])
    assert fatal[0] == f'{error}: ends with exit code 70, start it again'
    # an image that is still on its way must not end this process for real
    graph.nodes.remove(active)
    active.close()


@pytest.mark.parametrize('outcome', ['ready at the next start', 'failed: ended by SIGKILL'])
def test_the_diagnostics_follow_the_build(
    graph: Any, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    class Build(EngineBuild):
        is_done = False

        def __init__(self, *_: object, **__: object) -> None:
            pass

        @property
        def state(self) -> str:
            return outcome if self.is_done else 'building, 1 s'

        def stop(self) -> None:
            pass

    monkeypatch.setattr(build, 'gpus', lambda: ('a GPU',))
    monkeypatch.setattr(build, 'missing', lambda _: '')
    monkeypatch.setattr(build, 'EngineBuild', Build)
    graph.start(backend='auto', precision='fp32', device='auto')
    labels, camera = graph.labels(), graph.publisher()
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    stamps = count(1)

    def label_until(said: Callable[[dict[str, str]], bool]) -> DiagnosticStatus:
        def has_said() -> bool:
            graph.labels_of(camera, graph.image(next(stamps)), labels)
            return bool(diagnostics) and said(values(diagnostics[-1].status[0]))

        graph.wait_for(has_said)
        return diagnostics[-1].status[0]

    status = label_until(lambda found: found['engine'].startswith('building, '))
    assert status.level == DiagnosticStatus.OK
    Build.is_done = True
    status = label_until(lambda found: found['engine'] == outcome)
    is_failed = outcome.startswith('failed')
    assert status.level == (DiagnosticStatus.WARN if is_failed else DiagnosticStatus.OK)
    assert ('serves without an engine' in values(status)['degraded']) == is_failed


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}
