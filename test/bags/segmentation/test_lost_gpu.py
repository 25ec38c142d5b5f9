"""A GPU that is lost while a bag is segmented."""

from __future__ import annotations

import os
from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lemore_core.common.errors import GpuContextLostError
from lemore_core.images.image import Image
from lemore_ros.bags.segmentation import segment_bags
from lemore_ros.bags.segmentation.stages import Item, Stages

LOST = GpuContextLostError('GPU context lost')


def lose(*_: object) -> None:
    raise LOST


def test_the_images_left_are_not_blamed() -> None:
    options: Any = SimpleNamespace(outputs=())
    unused: Any = None
    stages = Stages(SimpleNamespace(segment_batch=lose), unused, unused, options)  # type: ignore[arg-type]
    items = [Item(unused, image=Image(np.zeros((2, 2, 3), np.uint8))) for _ in range(3)]
    with pytest.raises(GpuContextLostError):
        stages.segment(deque(items))
    assert not any(item.problem for item in items)


def test_its_process_ends_so_that_another_takes_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, '_exit', codes.append)
    monkeypatch.setattr(segment_bags._worker, 'segment', lose)
    task: Any = None
    segment_bags.segment_part(task)
    assert codes == [1]
