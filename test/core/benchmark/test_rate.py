from __future__ import annotations

import threading
import time

import pytest

from lemore_core.benchmark.rate import post_images


def test_a_fast_one_segments_all() -> None:
    row = post_images(lambda: None, 10, 0.5, 'fast')
    assert (row.posted, row.segmented, row.dropped, row.drop_share) == (5, 5, 0, 0.0)
    assert row.posted_hz == pytest.approx(10, rel=0.2)
    assert row.cpu_load < 1.5
    assert row.name == 'fast'


def test_a_slow_one_drops_what_it_cannot_take() -> None:
    row = post_images(lambda: time.sleep(0.05), 100, 0.5)
    assert row.segmented + row.dropped == row.posted == 50
    # ten images at most fit into the half second, and the last one
    assert 2 <= row.segmented <= 12
    assert row.drop_share > 0.7
    # an image waits for the one before it at most, and is segmented then
    assert row.latency_ms.median >= 50


def test_a_failure_ends_the_source() -> None:
    def fail() -> None:
        msg = 'broken'
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='broken'):
        post_images(fail, 10, 100)
    assert 'lemore_image_clock' not in [thread.name for thread in threading.enumerate()]
