"""Only work that somebody wants."""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy import event_handler
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String

from lemore_ros.messages.rendering import Rendering
from lemore_ros.node import qos
from lemore_ros.outputs import OUTPUTS, Output

NAME = '/lemore_segmentation'
IDLE_CORE = 0.03
WINDOW_S, WINDOWS = 2.0, 5


def cpu_seconds(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The outputs that something was rendered for, in order."""
    names: list[str] = []
    message = Rendering.message

    def recording(rendering: Rendering, output: Output) -> Any:
        names.append(output.name)
        return message(rendering, output)

    monkeypatch.setattr(Rendering, 'message', recording)
    return names


def test_images_are_taken_in_while_somebody_listens(graph: Any, active: Any) -> None:
    camera = graph.peer.create_publisher(Image, '/image', 5)
    health = active.stats['']
    for topic, kind in {'labels': Image, 'points': PointCloud2, 'camera_info': CameraInfo}.items():
        graph.wait_for(lambda: not camera.get_subscription_count(), 'the node to let go')
        assert health.health().message == 'nobody subscribes to its outputs'
        listener = graph.peer.create_subscription(kind, f'{NAME}/{topic}', print, 5)
        graph.wait_for(camera.get_subscription_count, 'the node to listen')
        graph.wait_for(lambda: health.health().message == 'segmenting')
        takes_depth = bool(graph.peer.count_subscribers('/depth'))
        assert takes_depth == (topic == 'points')
        graph.peer.destroy_subscription(listener)
    # the table of classes is there without any image
    graph.wait_for(lambda: not camera.get_subscription_count())
    graph.collect(String, f'{NAME}/classes')
    assert not camera.get_subscription_count()


class HumbleEvents(event_handler.PublisherEventCallbacks):  # type: ignore[misc]
    """The arguments of rclpy/qos_event.py of 3.3: subscribers come and go without an event."""

    def __init__(self, *, incompatible_qos: Any = None, use_default_callbacks: bool = True) -> None:
        super().__init__(
            incompatible_qos=incompatible_qos, use_default_callbacks=use_default_callbacks
        )


def test_subscribers_are_found_within_a_second_without_events_of_them(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_handler, 'PublisherEventCallbacks', HumbleEvents)
    graph.start()
    labels = graph.labels()
    graph.labels_of(graph.publisher(), graph.image(1), labels)


def test_events_are_imported_as_humble_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'rclpy.event_handler', None)
    monkeypatch.delattr(rclpy, 'event_handler')
    monkeypatch.setitem(sys.modules, 'rclpy.qos_event', event_handler)
    assert runpy.run_path(qos.__file__)['event_handler'] is event_handler


@pytest.mark.usefixtures('active')
def test_each_form_is_made_while_somebody_wants_it(graph: Any, rendered: list[str]) -> None:
    camera = graph.peer.create_publisher(Image, '/image', 5)
    images = [output for output in OUTPUTS.values() if output.is_image]
    for stamp, output in enumerate(images, start=1):
        found: list[Any] = []
        topic, kind = output.name, CompressedImage if output.codec else Image
        listener = graph.peer.create_subscription(kind, f'{NAME}/{topic}', found.append, 5)
        graph.wait_for(camera.get_subscription_count)
        graph.labels_of(camera, graph.image(stamp), found)
        graph.peer.destroy_subscription(listener)
        graph.wait_for(lambda: not camera.get_subscription_count())
    assert rendered == [output.name for output in images]


def test_a_node_that_nobody_listens_to_sleeps(graph: Any, start: Callable[..., Any]) -> None:
    process = start()
    camera = graph.peer.create_publisher(Image, '/image', 5)
    graph.wait_for(lambda: graph.state() == 'active')
    graph.wait_for(lambda: not camera.get_subscription_count())
    message = graph.image(1, size=(240, 320))
    timer = graph.peer.create_timer(1 / 30, lambda: camera.publish(message))
    # what started with it has to settle, which takes longer on a busy machine
    share = 1.0
    for _ in range(WINDOWS):
        before, begin = cpu_seconds(process.pid), time.monotonic()
        graph.wait_for(lambda since=begin: time.monotonic() - since > WINDOW_S)
        share = (cpu_seconds(process.pid) - before) / (time.monotonic() - begin)
        if share < IDLE_CORE:
            break
    graph.peer.destroy_timer(timer)
    print(f'\nidle: {100 * share:.1f} % of a core')
    assert share < IDLE_CORE
    assert process.poll() is None
