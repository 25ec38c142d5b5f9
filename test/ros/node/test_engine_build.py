"""The node while an engine is built for its next start."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

from lemore_core.inference.tensorrt import build
from lemore_core.inference.tensorrt.build import EngineBuild

NAME = '/lemore_segmentation'

MakeImage = Callable[..., Image]


@pytest.mark.parametrize('outcome', ['ready at the next start', 'failed: ended by SIGKILL'])
def test_the_diagnostics_follow_the_build(
    graph: Any,
    untrained: dict[str, Any],
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    outcome: str,
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
    node = graph.node(**untrained | {'backend': 'auto', 'precision': 'fp32', 'device': 'auto'})
    assert node.start()
    labels, camera = graph.collect(Image, f'{NAME}/labels'), graph.publisher()
    diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
    stamps = count(1)

    def label_until(said: Callable[[dict[str, str]], bool]) -> DiagnosticStatus:
        def has_said() -> bool:
            graph.labels_of(camera, make_image(next(stamps)), labels)
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
