"""Transitions that go wrong, and the memory that they release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image

from lemore_core.common.memory import process_memory
from lemore_core.export.fold import load_graph
from lemore_core.inference import torch_backend
from lemore_ros.node.lifecycle import DuplicateNodeCheck

NAME = '/lemore_segmentation'
CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP


@pytest.mark.parametrize(
    ('transitions', 'said'),
    [
        ((DEACTIVATE,), 'cannot deactivate in good order'),
        ((DEACTIVATE, CLEANUP), 'cannot clean up in good order'),
        ((Transition.TRANSITION_ACTIVE_SHUTDOWN,), 'cannot shut down in good order'),
    ],
)
def test_an_error_on_the_way_down_leads_to_a_node_that_starts_again(
    active: Any,
    graph: Any,
    monkeypatch: pytest.MonkeyPatch,
    transitions: tuple[int, ...],
    said: str,
) -> None:
    log = graph.log()
    *before, failing = transitions
    for transition in before:
        assert graph.change(transition)
    broken = active.worker.cameras[0].subscriptions if active.worker else active.segmenter
    close = broken.close

    def fail() -> None:
        monkeypatch.setattr(broken, 'close', close)
        msg = 'the device is gone'
        raise RuntimeError(msg)

    monkeypatch.setattr(broken, 'close', fail)
    assert not graph.change(failing)
    assert graph.state() == 'unconfigured'
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40])
    assert errors == [f'{said}: RuntimeError: the device is gone']
    assert graph.change(CONFIGURE)
    assert graph.change(ACTIVATE)
    labels = graph.labels()
    graph.labels_of(graph.publisher(), graph.image(1), labels)


@pytest.mark.parametrize('topic', ['image', 'depth/camera_info'])
def test_a_qos_that_is_wrong_is_found_before_somebody_listens(graph: Any, topic: str) -> None:
    log = graph.log()
    wrong = {f'qos_overrides./{topic}.subscription.reliability': 'perfect'}
    assert not graph.node(**graph.untrained, **wrong).start()
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40])
    assert errors[0].startswith('cannot activate: ')
    assert 'perfect' in errors[0]
    assert graph.state() == 'inactive'
    graph.wait_for(lambda: not graph.peer.count_subscribers('/image'))
    assert graph.peer.count_publishers(f'{NAME}/labels') == 0
    assert graph.change(CLEANUP)


@pytest.mark.parametrize(
    ('transitions', 'shutdown'),
    [
        ((), Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
        ((CONFIGURE,), Transition.TRANSITION_INACTIVE_SHUTDOWN),
        ((CONFIGURE, ACTIVATE), Transition.TRANSITION_ACTIVE_SHUTDOWN),
    ],
)
def test_every_state_can_be_shut_down_once(
    graph: Any, transitions: tuple[int, ...], shutdown: int
) -> None:
    node = graph.node(**graph.untrained, autostart=False)
    assert graph.state() == 'unconfigured'
    for transition in transitions:
        assert graph.change(transition)
    assert graph.change(shutdown)
    assert graph.state() == 'finalized'
    assert node.segmenter is None
    assert node.worker is None
    assert not graph.change(shutdown)
    assert not graph.change(CONFIGURE)
    assert graph.state() == 'finalized'


def test_a_transition_that_is_refused_is_named_with_what_is_possible(graph: Any) -> None:
    log = graph.log()
    graph.node(**graph.untrained)
    assert not graph.change(ACTIVATE)
    assert not graph.change(77)
    errors = graph.wait_for(lambda: [m.msg for m in log if m.level >= 40][1:] and log)
    refused = 'refused: the node is unconfigured, possible: configure, shutdown'
    assert [m.msg for m in errors] == [
        f"transition 'activate' {refused}",
        f'transition 77 {refused}',
    ]


def test_another_node_of_the_same_name_is_warned_of_once(graph: Any) -> None:
    log = graph.log()
    node = graph.node(**graph.untrained)
    other = rclpy.create_node(NAME[1:])
    graph.wait_for(lambda: node.get_node_names().count(NAME[1:]) == 2, 'the other one')
    check = DuplicateNodeCheck(node, checks=3)
    for _ in range(5):
        check.run()
    warnings = graph.wait_for(lambda: [m.msg for m in log if 'is called' in m.msg])
    other.destroy_node()
    assert len(warnings) == 1
    assert warnings[0].startswith('another node is called /lemore_segmentation too: ')


@pytest.mark.parametrize('backend', ['onnxruntime', 'torch'])
def test_cleaning_up_releases_the_memory(
    graph: Any,
    untrained: dict[str, Any],
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:
    monkeypatch.setattr(torch_backend, 'load_graph', load_graph)  # anew in each cycle
    model = {'onnxruntime': str(exported), 'torch': untrained['model']}[backend]
    graph.node(model=model, backend=backend, device='cpu')
    # large enough that an image which is kept shows
    camera = graph.peer.create_publisher(Image, '/image', 5)
    resident = []
    # a network that is kept in each of them would be more than what is allowed
    for cycle in range(1, 8):
        assert graph.change(CONFIGURE)
        assert graph.change(ACTIVATE)
        labels = graph.labels()
        graph.wait_for(camera.get_subscription_count)
        graph.labels_of(camera, graph.image(cycle, size=(540, 960)), labels)
        assert graph.change(DEACTIVATE)
        assert graph.change(CLEANUP)
        while subscriptions := list(graph.peer.subscriptions):
            graph.peer.destroy_subscription(subscriptions[0])
        graph.wait_for(lambda: not graph.peer.count_publishers('/diagnostics'))
        labels.clear()
        resident.append(process_memory().resident_mb)
    print(f'\n{backend}: ' + ' '.join(f'{megabytes:.0f}' for megabytes in resident))
    assert max(resident[1:]) - resident[0] < 30
