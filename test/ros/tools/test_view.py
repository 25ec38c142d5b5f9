"""A running node's topics, logged for Rerun."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String

from lemore_ros.messages.images import read_image
from lemore_ros.node.qos import latched
from test.ros.conftest import reliable

NAME = '/lemore_segmentation'


@pytest.mark.usefixtures('active')
def test_what_a_node_labels_is_logged_with_its_names(
    graph: Any, start_python: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    chunk = pytest.importorskip('rerun.chunk', reason='pip install rerun-sdk')
    output = tmp_path / 'live.rrd'
    viewer = start_python('-m', 'lemore_ros.tools.view', '--save', output, '--seconds', '600')
    camera = graph.publisher()
    for topic in ('confidence', 'classes'):
        graph.wait_for(lambda t=topic: graph.peer.count_subscribers(f'{NAME}/{t}'), 'the viewer')
    # what anybody may send beside it ends nothing
    strange = PointCloud2(data=bytes(3)), String(data='no table'), String(data='[{"id": 0}]')
    for message in strange:
        topic, profile = 'points', reliable()
        if isinstance(message, String):
            topic, profile = 'classes', latched()
        publisher = graph.peer.create_publisher(type(message), f'{NAME}/{topic}', profile)
        graph.wait_for(publisher.get_subscription_count)
        publisher.publish(message)
        assert publisher.wait_for_all_acked(Duration(seconds=30))
    # the table that waits for a late viewer may have been replaced by those
    for source in ('auto', ''):
        assert graph.set(class_groups=source)[0].successful
    labels = graph.labels()
    statuses = graph.collect(DiagnosticArray, '/diagnostics')
    done = lambda: len(labels) >= 30 and len(statuses) >= 4  # noqa: E731
    graph.film(camera, graph.image(1), done)
    viewer.send_signal(2)
    _, errors = viewer.communicate(timeout=60)
    assert viewer.returncode == 0, errors

    found: dict[str, list[Any]] = {}
    for part in chunk.RrdReader(output).stream():
        found.setdefault(part.entity_path, []).append(part.to_record_batch())
    assert {
        '/',
        '/camera/image',
        '/camera/labels',
        '/confidence',
        '/figures/segmenter_p50_ms',
    } <= set(found)
    batch = found['/camera/labels'][0]
    buffer = batch.column('SegmentationImage:buffer')[0].as_py()
    assert bytes(buffer[0]) == read_image(labels[0]).pixels.tobytes()
    stamp = batch.column('stamp').cast('int64')[0].as_py()
    assert stamp == pytest.approx(1_700_000_000 * 10**9 + 1, abs=1000)
    # tables come one after the other, and may share a chunk
    tables = [part.column('AnnotationContext:context').to_pylist() for part in found['/']]
    assert 'pedestrian' in str(tables)


INTERRUPTED = """
import os, sys
from std_msgs.msg import String
from lemore_ros.tools.view import main
create = String.__init__
def interrupt(message, **fields):
    create(message, **fields)
    os.kill(os.getpid(), 2)
String.__init__ = interrupt
sys.exit(main(['--save', sys.argv[1], '--seconds', '600']))
"""


@pytest.mark.usefixtures('active')
def test_an_interrupt_while_a_message_is_converted_ends_it_in_good_order(
    start_python: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    pytest.importorskip('rerun.chunk', reason='pip install rerun-sdk')
    # the node's table of classes is converted by String's constructor
    viewer = start_python('-c', INTERRUPTED, tmp_path / 'live.rrd')
    assert viewer.communicate(timeout=60)[1] == ''
    assert viewer.returncode == 0


@pytest.mark.parametrize(
    ('arguments', 'environ', 'expected'),
    [
        ((), {}, 'nothing came from /lemore_segmentation or on /image: is it active, and called'),
        (('--image', '/cam/1/image'), {}, 'topic name token must not start with a number'),
        (
            (),
            {'ROS_DOMAIN_ID': 'one'},
            'failed to initialize rcl: ROS_DOMAIN_ID is not an integral',
        ),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    start_python: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    environ: dict[str, str],
    expected: str,
) -> None:
    pytest.importorskip('rerun', reason='pip install rerun-sdk')
    program = '-m', 'lemore_ros.tools.view', '--save', tmp_path / 'live.rrd', '--seconds', '0.1'
    viewer = start_python(*program, *arguments, environ=environ)
    _, errors = viewer.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if line.startswith('lemore_view: ')]
    assert (viewer.returncode, len(lines), 'Traceback' in errors) == (2, 1, False), errors
    assert expected in lines[0]


def test_without_rerun_it_says_what_to_install(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    code = 'import sys; sys.modules["rerun"] = None\nfrom lemore_ros.tools.view import main\nsys.exit(main([]))'
    viewer = start_python('-c', code)
    _, errors = viewer.communicate(timeout=60)
    assert (viewer.returncode, errors) == (
        2,
        "lemore_view: the viewer is Rerun, which is not installed: pip install 'lemore_ros[view]'\n",
    )
