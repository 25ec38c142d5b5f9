"""A camera three times as fast as the network, listeners that come and go, and a short soak."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image

from lemore_core.common.memory import process_memory
from lemore_ros.messages.common import stamp_ns

SLOW_NODE = Path(__file__).parent / 'slow_node.py'
NAME = '/lemore_segmentation'
CAMERA_HZ, SERVICE_S = 60.0, 0.05
WARM_UP_S, DURATION_S = 2.0, 6.0
# of the two ends that measure
SLACK_S = 0.05
ROUNDS, GROWTH_MB = 15, 15


def test_labels_of_a_camera_that_is_too_fast_stay_young(
    graph: Any, start: Callable[..., Any]
) -> None:
    start(program=(str(SLOW_NODE), str(SERVICE_S)))
    arrivals: list[tuple[float, float]] = []
    stamps: list[int] = []
    now = graph.peer.get_clock().now

    def on_labels(labels: Image) -> None:
        stamps.append(stamp_ns(labels.header))
        arrivals.append((time.monotonic(), (now().nanoseconds - stamps[-1]) / 1e9))

    graph.peer.create_subscription(Image, f'{NAME}/labels', on_labels, 5)
    statuses = graph.collect(DiagnosticArray, '/diagnostics')
    camera, message = graph.publisher(), graph.image(1, size=(240, 320))

    def publish() -> None:
        message.header.stamp = now().to_msg()
        camera.publish(message)

    graph.peer.create_timer(1 / CAMERA_HZ, publish)
    begin = time.monotonic()
    graph.wait_for(lambda: time.monotonic() > begin + WARM_UP_S + DURATION_S)
    times, ages = zip(*(a for a in arrivals if a[0] > begin + WARM_UP_S), strict=True)
    # an image waits for the one before it, however long the machine takes for that
    assert np.percentile(ages, 95) < 2 * np.percentile(np.diff(times), 95) + SLACK_S
    assert stamps == sorted(set(stamps))
    status = statuses[-1].status[0]
    values = {entry.key: entry.value for entry in status.values}
    assert int(values['dropped']) > int(values['labelled']) > 0
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith('falling behind')


def test_300_subscribers_come_and_go(graph: Any, active: Any) -> None:
    camera = graph.peer.create_publisher(Image, '/image', 5)
    topics = dict.fromkeys(('labels', 'overlay', 'color'), Image)
    topics['overlay/compressed'] = CompressedImage
    descriptors, resident = [], []
    for stamp in range(1, ROUNDS + 1):
        found: list[set[bool]] = [set() for _ in range(20)]
        kinds = [*topics.items()] * 5
        listeners = [
            graph.peer.create_subscription(
                kind, f'{NAME}/{topic}', lambda _, seen=seen: seen.add(True), 5
            )
            for (topic, kind), seen in zip(kinds, found, strict=True)
        ]
        image = graph.image(stamp, size=(480, 640))
        graph.film(camera, image, lambda every=found: all(every), 'every output')
        for listener in listeners:
            graph.peer.destroy_subscription(listener)
        graph.wait_for(lambda: not camera.get_subscription_count(), 'a node without listeners')
        descriptors.append(len(list(Path('/proc/self/fd').iterdir())))
        resident.append(process_memory().resident_mb)
    assert descriptors[-1] == descriptors[0]
    assert max(resident[-5:]) - max(resident[:5]) < GROWTH_MB
    assert active.stats['']['labelled'] >= ROUNDS
    assert active.stats['']['failed'] == 0


def test_a_short_soak_meets_its_bars(run_python: Any) -> None:
    output = run_python(Path(__file__).parent / 'soak.py', '--frames', '300')
    rows = {line.split('|')[1].strip(): line for line in output.splitlines()[2:]}
    for name in ('threads', 'descriptors', 'images received'):
        assert rows[name].endswith('| met |'), output
