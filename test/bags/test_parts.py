"""Stages that run at the same time, and parts of bags: divided, resumed, and shared by workers."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag2 import Writer

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.parts import NS, BagSegmentation, divide, find_jobs
from lemore_ros.bags.segment import read_ahead
from test.bags.conftest import ROOT, BagFolder, contents, drive, files, segment

Start = Callable[..., subprocess.Popen[str]]


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


def test_an_error_ends_all_stages_and_closes_the_source() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def fail(item: int) -> int:
        if item == 5:
            msg = 'broken'
            raise ValueError(msg)
        return item

    before = threading.active_count()
    with (
        pytest.raises(ValueError, match='broken'),
        read_ahead(source()) as first,
        read_ahead(map(fail, first)) as second,
    ):
        list(second)
    assert closed
    assert threading.active_count() == before


@pytest.mark.parametrize('rate', [0.0, 0.3, 2.0, 29.97, 1000.0])
def test_parts_cover_the_time_once_and_begin_at_slots(rate: float) -> None:
    start, end = 1_700_000_000 * NS + 7, 1_700_000_100 * NS + 3
    period = SegmentOptions(rate=rate).period_ns
    borders = divide(start, end, 3000, 170, period)
    assert (borders[0], borders[-1]) == (start, end)
    assert borders == sorted(set(borders))
    assert 1 < len(borders) - 1 <= 18
    assert all((border - start) % period == 0 for border in borders[:-1])


def test_a_bag_with_one_wild_time_has_few_parts() -> None:
    assert len(divide(0, 1_700_000_000 * NS, 1000, 0, 1)) - 1 == 10


def test_killed_at_any_moment_it_is_resumed(
    bags: BagFolder, command: Start, options: SegmentOptions
) -> None:
    options = replace(options, file_frames=4)
    source = bags.write(drive(40))
    segment(source, bags.folder / 'unbroken', options)
    luck = random.Random(6)
    output, part = bags.folder / 'out', bags.folder / '.out.part'
    kills = 0
    while kills < 2:
        process = command(source, '-o', output, '--resume')
        complete = len(list(part.glob('out_*/result.json')))
        # once it writes, after a moment of its own; before that, now and then
        deadline = time.monotonic() + (luck.uniform(0.0, 2.0) if kills == 1 else 60)
        while len(list(part.glob('out_*/result.json'))) == complete and process.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.002)
        time.sleep(luck.uniform(0.0, 0.08))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert not output.exists() or not part.exists()
    if not output.exists():
        segment(source, output, options, resume=True)
    assert contents(output) == contents(bags.folder / 'unbroken')
    assert not list(bags.folder.glob('.out*'))


def test_ctrl_c_names_the_images_done_and_the_remedy(bags: BagFolder, command: Start) -> None:
    output, part = bags.folder / 'out', bags.folder / '.out.part'
    # where the tests are run in the background SIGINT is ignored, which children inherit
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = command(bags.write(drive(400)), '-o', output)
    signal.signal(signal.SIGINT, former)
    while process.poll() is None and not list(part.glob('out_*/result.json')):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r'interrupted after \d+ images: resume with --resume\n', errors)
    assert not output.exists()


def test_a_full_disk_keeps_complete_parts_for_the_same_job(
    bags: BagFolder, options: SegmentOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = bags.write(drive(12)), bags.folder / 'out'
    options = replace(options, file_frames=4)
    segment(source, bags.folder / 'whole', options)
    write, written = Writer.write, itertools.count()

    def write_some(self: Writer, *message: Any) -> None:
        if next(written) > 60:
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(self, *message)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, 'write', write_some)
        with pytest.raises(BagError, match=r'no space is left .*--resume'):
            segment(source, output, options)
    assert not output.exists()
    with pytest.raises(BagError, match='interrupted run: resume it with --resume'):
        segment(source, output, options)
    with pytest.raises(BagError, match='was begun with other arguments'):
        segment(source, output, replace(options, rate=1.0), resume=True)
    assert segment(source, output, options, resume=True).frames == 12
    assert contents(output) == contents(bags.folder / 'whole')
    with pytest.raises(BagError, match='exists already, not overwriting'):
        segment(source, output, options)


def test_two_workers_of_which_one_dies_write_the_same(
    bags: BagFolder, options: SegmentOptions
) -> None:
    options = replace(options, file_frames=4)
    source = bags.write(drive(16))
    whole, output = bags.folder / 'one' / 'out', bags.folder / 'two' / 'out'
    segment(source, whole, options)
    run = BagSegmentation(find_jobs([source], output, options), resume=False)
    killed: list[int] = []

    def kill_one(_: int) -> None:
        # of the first images that are done, while others are in hand
        if not killed:
            killed.append(worker_of(os.getpid()))
            os.kill(killed[0], signal.SIGKILL)

    run.segment(kill_one, workers=2)
    assert killed
    assert files(output) == files(whole)


def worker_of(parent: int) -> int:
    """Return a process that multiprocessing has spawned for another."""
    for task in Path(f'/proc/{parent}/task').iterdir():
        for child in (task / 'children').read_text().split():
            if 'spawn_main' in Path(f'/proc/{child}/cmdline').read_text():
                return int(child)
    msg = f'{parent} has no workers'
    raise AssertionError(msg)


def test_several_bags_into_a_folder(bags: BagFolder, options: SegmentOptions) -> None:
    sources = [bags.write(drive(3), 'a'), bags.write(drive(5), 'b')]
    run = BagSegmentation(find_jobs(sources, bags.folder / 'out', options), resume=False)
    results = run.segment(lambda _: None)
    assert [(job.output.name, result.frames) for job, result in results] == [('a', 3), ('b', 5)]
    with pytest.raises(BagError, match="2 inputs are called 'a'"):
        find_jobs([sources[0], sources[0]], bags.folder, options)


def test_help_imports_nothing_heavy() -> None:
    code = (
        'import sys; from lemore_core.cli.main import main\n'
        'try: main(["bag", "segment", "--help"])\n'
        'except SystemExit: pass\n'
        'heavy = {"torch", "numba", "cv2", "onnxruntime", "numpy", "rosbags"}\n'
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
