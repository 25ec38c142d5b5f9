"""What a running node says of itself."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Log
from sensor_msgs.msg import Image

from lemore_core.common.errors import GpuContextLostError
from lemore_ros.node import exit_codes

NAME = '/lemore_segmentation'

MakeImage = Callable[..., Image]


def last(messages: list[DiagnosticArray]) -> Any:
    return messages[-1].status[0] if messages else None


@pytest.mark.usefixtures('active')
def test_both_topics_say_the_same_once_a_second_although_simulated_time_stands_still(
    graph: Any,
) -> None:
    # nobody publishes /clock
    assert graph.set(use_sim_time=True)[0].successful
    own = graph.collect(DiagnosticArray, f'{NAME}/status')
    shared = graph.collect(DiagnosticArray, '/diagnostics')
    times: list[float] = []

    def four() -> bool:
        if len(own) > len(times):
            times.append(time.monotonic())
        return len(times) >= 4 and len(shared) >= 4

    graph.wait_for(four)
    # the machine may be late with one; a clock that runs wild or stands still is not one second
    assert 2.0 < times[3] - times[0] < 6.0
    by_labels = {tuple(sorted(v.key for v in m.status[0].values)) for m in own + shared}
    assert len(by_labels) == 1
    ends = [m.status[0] for m in (own[-1], shared[-1])]
    assert ends[0].name == ends[1].name == 'lemore_segmentation: segmentation'
    assert ends[0].level == ends[1].level
    assert ends[0].message == ends[1].message
    assert ends[0].hardware_id == ends[1].hardware_id == 'cpu'
    assert own[-1].header.stamp.sec == 0


def test_the_levels_follow_what_happens(
    graph: Any, active: Any, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = graph.collect(DiagnosticArray, f'{NAME}/status')
    graph.wait_for(lambda: statuses)
    assert last(statuses).message == 'nobody subscribes to its outputs'
    assert last(statuses).level == DiagnosticStatus.OK
    labels = graph.collect(Image, f'{NAME}/labels')
    camera = graph.publisher()
    health = active._stats['']

    def says(level: bytes, text: str) -> Any:
        def said() -> bool:
            return last(statuses).level == level and text in last(statuses).message

        return graph.wait_for(said, text)

    graph.labels_of(camera, make_image(1), labels)
    says(DiagnosticStatus.OK, 'segmenting')
    # three seconds without an image, not waited for
    health._last_frame -= 3.0
    says(DiagnosticStatus.WARN, 'no image arrived for')
    garbage = make_image(2)
    garbage.step = 7
    camera.publish(garbage)
    says(DiagnosticStatus.ERROR, 'the last frame failed: step is 7 bytes')
    graph.labels_of(camera, make_image(3), labels)
    status = dataclasses.replace(active._segmenter.status, degraded='no engine')
    # what degrades a backend needs a GPU
    monkeypatch.setattr(type(active._segmenter), 'status', status)
    says(DiagnosticStatus.WARN, 'segmenting, degraded: no engine')


def test_a_camera_that_is_too_fast_is_reported(
    graph: Any, untrained: dict[str, Any], make_image: MakeImage
) -> None:
    graph.slow_node(0.5, **untrained)
    statuses = graph.collect(DiagnosticArray, f'{NAME}/status')
    graph.collect(Image, f'{NAME}/labels')
    camera, message = graph.publisher(), make_image(1)
    timer = graph.peer.create_timer(0.03, lambda: camera.publish(message))
    graph.wait_for(lambda: statuses and last(statuses).message.startswith('falling behind: '))
    assert last(statuses).level == DiagnosticStatus.WARN
    graph.peer.destroy_timer(timer)


def test_the_installed_updater_publishes_under_its_own_names(
    graph: Any, untrained: dict[str, Any]
) -> None:
    pytest.importorskip('diagnostic_updater')
    node = graph.node(**untrained, camera_names=['front', 'rear'])
    shared = graph.collect(DiagnosticArray, '/diagnostics')
    own = graph.collect(DiagnosticArray, f'{NAME}/status') if node.start() else []
    for _ in range(2):
        own.clear()
        graph.wait_for(lambda: len(own) >= 2)
        # one more may be on its way
        whole = [m for m in shared if len(m.status) == 2]
        graph.wait_for(lambda w=whole: w)
        assert graph.peer.count_publishers('/diagnostics') == 1
        theirs, ours = whole[-1].status, own[-1].status
        names = [
            'lemore_segmentation: segmentation front',
            'lemore_segmentation: segmentation rear',
        ]
        assert [s.name for s in theirs] == [s.name for s in ours] == names
        assert [s.level for s in theirs] == [s.level for s in ours]
        assert [s.message for s in theirs] == [s.message for s in ours]
        assert {s.hardware_id for s in [*theirs, *ours]} == {'cpu'}
        keys = [[v.key for v in s.values] for s in [*theirs, *ours]]
        assert all(found == keys[0] for found in keys)
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            assert graph.change(transition)
        assert node._updater.tasks == []
        shared.clear()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert graph.change(transition)


def test_without_the_updater_cleaning_up_takes_the_topic_back(graph: Any, active: Any) -> None:
    if active._updater is not None:
        pytest.skip('diagnostic_updater is installed, it keeps the topic')
    graph.wait_for(lambda: graph.peer.count_publishers('/diagnostics') == 1)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert graph.change(transition)
    graph.wait_for(lambda: not graph.peer.count_publishers('/diagnostics'))
    assert graph.peer.count_publishers(f'{NAME}/status') == 0


@pytest.mark.usefixtures('active')
def test_what_the_library_logs_reaches_rosout(graph: Any) -> None:
    log = graph.collect(Log, '/rosout')
    library = logging.getLogger('lemore_core.inference')
    library.debug('not of interest')
    library.info('building an %s', 'engine')
    library.warning('the cache is full')
    library.error('the build failed')
    graph.wait_for(lambda: len(log) >= 3)
    assert [(m.level, m.name, m.msg) for m in log] == [
        (20, NAME[1:], 'building an engine'),
        (30, NAME[1:], 'the cache is full'),
        (40, NAME[1:], 'the build failed'),
    ]


def test_a_closed_node_leaves_the_librarys_log_as_it_was(
    graph: Any, untrained: dict[str, Any]
) -> None:
    library = logging.getLogger('lemore_core')
    before = library.level, list(library.handlers)
    first, second = (graph.node(**untrained) for _ in range(2))
    graph.nodes.clear()
    first.close()
    assert library.level == logging.INFO
    second.close()
    assert (library.level, library.handlers) == before


def test_a_lost_gpu_is_the_last_thing_that_is_said(
    graph: Any, active: Any, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    error = GpuContextLostError('GPU context lost: cuda:0 failed on a network: CUDA error')

    def lose(_: object) -> None:
        raise error

    monkeypatch.setattr(os, '_exit', codes.append)
    monkeypatch.setattr(active._segmenter, 'segment_batch', lose)
    log = graph.collect(Log, '/rosout')
    found = graph.collect(DiagnosticArray, '/diagnostics')
    labels = graph.collect(Image, f'{NAME}/labels')
    graph.film(graph.publisher(), make_image(1), lambda: codes, 'the end')
    assert set(codes) == {exit_codes.DEVICE_LOST}
    assert not labels
    statuses = graph.wait_for(lambda: [s for m in found for s in m.status if 'GPU' in s.message])
    assert statuses[0].level == DiagnosticStatus.ERROR
    assert str(error) in statuses[0].message
    fatal = graph.wait_for(lambda: [m.msg for m in log if m.level == 50])
    assert fatal[0] == f'{error}: ends with exit code 70, start it again'
    # an image that is still on its way must not end this process for real
    graph.nodes.remove(active)
    active.close()
