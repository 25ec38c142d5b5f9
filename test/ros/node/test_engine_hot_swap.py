"""The node while an engine is built, for real, for a GPU that is not here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image

from lemore_core import inference as backends
from lemore_core.inference import Backend, ServingRequest, Status
from lemore_core.inference.tensorrt import background as serving
from lemore_core.inference.tensorrt.build_process import BuildRequest, Target
from lemore_core.inference.tensorrt.engine_cache import EngineCache, EngineKey
from lemore_core.inference.tensorrt.hot_swap import EngineSource

pytest.importorskip('tensorrt_rtx', reason='pip install tensorrt-rtx-cu13')

NAME = '/lemore_segmentation'

MakeImage = Callable[..., Image]
Running = Callable[[], list[int]]


@pytest.fixture
def camera_and_labels(
    graph: Any, untrained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A node that takes an engine for a GPU of 8.6 to run here, its camera and its labels.

    PyTorch labels in the place of the engine, once that has been built.
    """

    def load(request: ServingRequest, key: EngineKey) -> Backend:
        assert EngineCache().read(key)
        backend: Any = backends.load('torch', request)
        backend.status = Status('tensorrt', 'cuda:0', 'fp16')
        return backend

    def find(request: ServingRequest) -> EngineSource:
        order = BuildRequest(request, Target('8.6'), low_priority=False)
        return EngineSource(order, lambda key: load(request, key))

    monkeypatch.setattr(serving, 'find_engine_source', find)
    # random weights overflow half precision
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    node = graph.node(**untrained | {'backend': 'auto', 'precision': 'fp32'})
    assert node.start()
    labels = graph.collect(Image, f'{NAME}/labels')
    return graph.publisher(), labels


@pytest.fixture
def label_until(
    graph: Any, camera_and_labels: Any, make_image: MakeImage
) -> Callable[[Callable[[DiagnosticStatus], bool]], list[DiagnosticStatus]]:
    """Return a function that sends images until the diagnostics say something.

    It returns all that they said. Every image is labelled.
    """
    camera, labels = camera_and_labels
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    stamps = count(1)

    def label(said: Callable[[DiagnosticStatus], bool]) -> list[DiagnosticStatus]:
        def has_said() -> bool:
            graph.labels_of(camera, make_image(next(stamps)), labels)
            return bool(diagnostics) and said(diagnostics[-1].status[0])

        graph.wait_for(has_said)
        return [message.status[0] for message in diagnostics]

    return label


def value(status: DiagnosticStatus, key: str) -> str:
    return str(next(entry.value for entry in status.values if entry.key == key))


def test_the_diagnostics_follow_the_engine_until_it_serves(label_until: Any) -> None:
    statuses = label_until(lambda status: value(status, 'engine') == 'serving')
    assert value(statuses[0], 'backend') == 'onnxruntime'
    assert value(statuses[-1], 'backend') == 'tensorrt'
    assert value(statuses[-1], 'precision') == 'fp16'
    assert statuses[-1].hardware_id == 'cuda:0'
    assert any(value(status, 'engine').startswith('building, ') for status in statuses)
    assert {status.level for status in statuses} == {DiagnosticStatus.OK}


def test_cleaning_up_ends_the_build(
    graph: Any, label_until: Any, engine_processes: Running
) -> None:
    label_until(lambda status: value(status, 'engine') != '')
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert graph.call(ChangeState, f'{NAME}/change_state', request).success
    assert not engine_processes()
