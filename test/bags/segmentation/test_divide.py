"""The steps that work at the same time, and how a bag is divided."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from lemore_ros.bags.segmentation.divide import NS, Slots, divide
from lemore_ros.bags.segmentation.read_ahead import read_ahead
from test.bags.conftest import ROOT


def test_results_come_in_order_and_stages_overlap() -> None:
    begun = [threading.Event() for _ in range(5)]
    begun[4].set()

    def first(item: int) -> int:
        begun[item].set()
        return item * 2

    def second(item: int) -> int:
        assert begun[item // 2 + 1].wait(30), 'the stage before has not gone on'
        return item * 2

    with read_ahead(map(first, range(4))) as ahead, read_ahead(map(second, ahead)) as results:
        assert list(results) == [0, 4, 8, 12]


@pytest.mark.parametrize('ahead', [1, 3])
def test_few_items_are_in_hand(ahead: int) -> None:
    made = itertools.count()
    seen = []
    source = (next(made) for _ in range(1000))
    with read_ahead(source, ahead=ahead) as first, read_ahead(first, ahead=ahead) as second:
        for item in itertools.islice(second, 50):
            time.sleep(0.001)
            seen.append(next(made) - len(seen) - item)
    assert 1 < max(seen) <= 2 * ahead + 1


def test_an_item_is_let_go_of_while_the_next_is_made() -> None:
    class Image:
        pass

    waits, known = threading.Event(), []

    def images() -> Iterator[Image]:
        for _ in range(2):
            image = Image()
            known.append(weakref.ref(image))
            yield image
            del image
            waits.wait(10)

    with read_ahead(images()) as taken:
        next(taken)
        asked = threading.Thread(target=next, args=(taken,))
        asked.start()
        while known[0]() is not None and asked.is_alive():
            time.sleep(0.001)
        assert asked.is_alive()
        waits.set()
        asked.join()


@pytest.mark.parametrize('place', [0, 1])
def test_an_error_of_any_stage_ends_all(place: int) -> None:
    def fail(item: int) -> int:
        if item == 5:
            msg = 'broken'
            raise ValueError(msg)
        return item

    before = threading.active_count()
    work: list[Callable[[int], int]] = [lambda item: item, lambda item: item]
    work[place] = fail
    with (
        pytest.raises(ValueError, match='broken'),
        read_ahead(map(work[0], range(100))) as first,
        read_ahead(map(work[1], first)) as second,
    ):
        list(second)
    assert threading.active_count() == before


def test_leaving_closes_what_is_half_read() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(threading.active_count())

    before = threading.active_count()
    with read_ahead(source()) as taken:
        assert next(taken) == 0
    assert len(closed) == 1
    assert threading.active_count() == before


@pytest.mark.parametrize('rate', [0.0, 0.3, 2.0, 29.97, 1000.0])
def test_parts_cover_the_time_once_and_thin_out_alike(rate: float) -> None:
    start, end = 1_700_000_000 * NS + 7, 1_700_000_100 * NS + 3
    parts = divide(start, end, 3000, 170, rate)
    assert parts[0].start_ns == start
    assert parts[-1].end_ns == end + 1
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(parts))
    assert 1 < len(parts) <= 18
    times = range(start, end, NS // 30)
    at_once = Slots(start, rate)
    expected = [time for time in times if at_once.takes('/a', time)]
    found = []
    for part in parts:
        slots = Slots(start, rate)
        found += [
            time
            for time in times
            if part.start_ns <= time < part.end_ns and slots.takes('/a', time)
        ]
    assert found == expected


def test_a_bag_with_one_wild_time_has_few_parts() -> None:
    assert len(divide(0, 1_700_000_000 * NS, 1000, 0, 0.0)) == 10


def test_help_imports_nothing_heavy() -> None:
    code = (
        'import sys; from lemore_core.cli.main import main\n'
        'try: main(["bag", "segment", "--help"])\n'
        'except SystemExit: pass\n'
        'heavy = {"torch", "numba", "cv2", "onnxruntime", "numpy", "rosbags", "ray"}\n'
        'found = heavy & set(sys.modules)\n'
        'sys.exit(f"imported {found}" if found else 0)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT, capture_output=True)


def test_a_checkout_that_is_not_installed_says_so() -> None:
    code = (
        'import sys\n'
        'from lemore_core.cli import main as cli\n'
        'cli.entry_points = lambda group: ()\n'
        'sys.exit(cli.main(["bag", "info", "x"]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there is no command 'bag'" in done.stderr
    assert 'once they are installed (pip install -e .)' in done.stderr
