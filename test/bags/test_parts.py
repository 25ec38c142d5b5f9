"""Stages that run at the same time, and parts of bags: divided, resumed, and shared by workers."""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Writer

from lemore_core.sources import open_sources
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.options import SegmentOptions
from lemore_ros.bags.parts import BagSegmentation, divide
from lemore_ros.bags.segment import NS, read_ahead
from test.bags.conftest import (
    IMAGE,
    PERIOD,
    ROOT,
    START,
    BagFolder,
    contents,
    drive,
    files,
    image,
    labels_of,
    pattern,
    segment,
)

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

    assert list(read_ahead(map(second, read_ahead(map(first, range(4)))))) == [0, 4, 8, 12]


@pytest.mark.parametrize('rate', [0.0, 0.3, 2.0, 29.97, 1000.0])
def test_parts_cover_the_time_once_and_begin_at_slots(rate: float) -> None:
    start, end = 1_700_000_000 * NS + 7, 1_700_000_100 * NS + 3
    period = SegmentOptions(rate=rate).period_ns
    borders = divide(start, end, 3000, 170, period)
    assert (borders[0], borders[-1]) == (start, end)
    assert borders == sorted(set(borders))
    assert 1 < len(borders) - 1 <= 18
    assert all((border - start) % period == 0 for border in borders[:-1])
    # of a bag with one wild time
    assert len(divide(0, 1_700_000_000 * NS, 1000, 0, 1)) - 1 == 10


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have new processes do, once, what is in this file before they segment a batch."""
    folder = tmp_path / 'stand-in'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(f"""
from pathlib import Path
from lemore_core.common.errors import GpuContextLostError
from lemore_core.segmenter import Segmenter
real, batches = Segmenter.segment_batch, []
def segment_batch(self, images, *refinement):
    batches.append(len(images))
    exec(Path({str(folder / 'code')!r}).read_text())
    return real(self, images, *refinement)
Segmenter.segment_batch = segment_batch
""")
    path = os.environ.get('PYTHONPATH', '')
    monkeypatch.setenv('PYTHONPATH', f'{folder}{os.pathsep}{ROOT}{os.pathsep}{path}')
    return folder / 'code'


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_stopped_at_any_moment_it_is_resumed(
    bags: BagFolder,
    command: Start,
    options: SegmentOptions,
    stand_in: Path,
    number: int,
    status: int,
) -> None:
    options = replace(options, file_frames=4)
    source, output = bags.write(drive(40)), bags.folder / 'out'
    segment(source, bags.folder / 'unbroken', options)
    part, reached = bags.folder / '.out.part', bags.folder / 'reached'
    code = f'import time, pathlib\nif sum(batches) > 9: pathlib.Path({str(reached)!r}).touch(); time.sleep(0.5)'
    stand_in.write_text(code)
    # where the tests are run in the background SIGINT is ignored, which children inherit
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = command(source, '-o', output)
    signal.signal(signal.SIGINT, former)
    while not reached.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert number == signal.SIGKILL or re.search(
        r'after \d+ images: resume with --resume\n', errors
    )
    assert not output.exists()
    assert 2 <= len(list(part.glob('out_*/result.json'))) < 10
    segment(source, output, options, resume=True)
    assert contents(output) == contents(bags.folder / 'unbroken')
    assert not list(bags.folder.glob('.out*'))


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


def test_two_workers_of_which_one_loses_its_gpu_write_the_same(
    bags: BagFolder, options: SegmentOptions, stand_in: Path
) -> None:
    options = replace(options, file_frames=4)
    source = bags.write(drive(16))
    whole, output = bags.folder / 'one' / 'out', bags.folder / 'two' / 'out'
    segment(source, whole, options)
    lost = bags.folder / 'lost'
    stand_in.write_text(
        f'file = Path({str(lost)!r})\n'
        'if not file.exists(): file.touch(); raise GpuContextLostError("GPU context lost")'
    )
    run = BagSegmentation([source], output, options, resume=False)
    ((_, _, result),) = run.segment(lambda _: None, workers=2)
    assert lost.exists()
    assert (result.frames, result.problems) == (16, {})
    assert files(output) == files(whole)


def test_a_gpu_that_is_lost_again_ends_the_run_and_leaves_no_part(
    bags: BagFolder, command: Start, options: SegmentOptions, stand_in: Path
) -> None:
    stand_in.write_text('raise GpuContextLostError("GPU context lost")')
    source = bags.write(drive(8))
    process = command(source, '-o', bags.folder / 'alone')
    assert process.communicate(timeout=60)[1].endswith('lemore bag: GPU context lost\n')
    assert process.returncode == 1
    assert [path.name for path in (bags.folder / '.alone.part').iterdir()] == ['job.sha256']
    options = replace(options, file_frames=4)
    run = BagSegmentation([source], bags.folder / 'out', options, resume=False)
    with pytest.raises(BagError, match=r'died 2 times, 2 parts are left: .*--resume'):
        run.segment(lambda _: None, workers=2)


def test_of_several_bags_each_costs_itself(
    bags: BagFolder, options: SegmentOptions, lemore: Any
) -> None:
    rear = [('/rear', IMAGE, START, image(0, START, encoding='no such'))]
    sources = [bags.write(drive(3), 'a'), bags.write([*rear, *drive(5)], 'b')]
    unusable = [bags.write([m for m in drive(2) if m[0] == '/notes'], 'notes')]
    unusable += [bags.folder / 'gone.mcap', bags.folder / 'empty.bag']
    unusable[-1].touch()
    given = [unusable[0], *sources, *unusable[1:]]
    run = BagSegmentation(given, bags.folder / 'out', options, resume=False)
    results = run.segment(lambda _: None)
    assert [(output.name, result.frames) for _, output, result in results] == [('a', 3), ('b', 5)]
    for line, path in zip(run.left_out, [unusable[0], sources[1], *unusable[1:]], strict=True):
        assert str(path) in line
    done = lemore('bag', 'segment', *given, '-o', bags.folder / 'out', '--resume')
    assert (done.status, done.err.count('not segmented: ')) == (3, 3)
    with pytest.raises(BagError, match='there is no bag'):
        BagSegmentation(unusable[:2], bags.folder / 'none', options, resume=False)
    with pytest.raises(BagError, match="2 inputs are called 'a'"):
        BagSegmentation([sources[0], sources[0]], bags.folder, options, resume=False)


def test_what_a_bag_lacks_is_said_though_the_next_one_fails(
    bags: BagFolder, exported: Path, monkeypatch: pytest.MonkeyPatch, lemore: Any
) -> None:
    broken = ('/camera/image_raw', IMAGE, START + 1, image(0, START)[:50])
    sources = [bags.write([*drive(2), broken], 'a'), bags.write(drive(2), 'b')]
    write = Writer.write

    def write_a(self: Writer, *message: Any) -> None:
        if self.path.name.startswith('b'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(self, *message)

    monkeypatch.setattr(Writer, 'write', write_a)
    command = ['bag', 'segment', *sources, '-o', bags.folder / 'out', '--model', exported]
    done = lemore(*command, '--device', 'cpu')
    lacks = 'a: 1 image is not segmented, /camera/image_raw: 50 bytes'
    assert done.fails(lacks, 'no space is left')
    assert 'out/a: 2 images segmented' in done.out


def test_bags_of_one_name_in_several_folders_are_called_by_their_folders(
    bags: BagFolder, options: SegmentOptions
) -> None:
    given = []
    for day in ('monday', 'friday'):
        (bags.folder / day).mkdir(parents=True)
        given.append(bags.write(drive(2), f'{day}/drive'))
    run = BagSegmentation(given, bags.folder / 'out', options, resume=False)
    found = [output.name for _, output, _ in run.segment(lambda _: None)]
    assert found == ['monday_drive', 'friday_drive']
    assert [one.name for one in open_sources(given)] == found


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


def test_each_part_reads_16_bits_by_the_depth_of_the_whole_bag(
    bags: BagFolder, options: SegmentOptions
) -> None:
    """Parts 1 and 2 are in a tunnel: their values would fit into fewer bits."""
    found = []
    for name, encoding in (('sensor', 'bgr16'), ('camera', 'bgr8')):
        frames = [pattern(index) // (20 if index < 6 else 1) for index in range(9)]
        messages = []
        for index, frame in enumerate(frames):
            pixels = frame if encoding == 'bgr8' else frame.astype(np.uint16) << 4
            sent = image(0, START, encoding=encoding, pixels=pixels)
            messages.append(('/front', IMAGE, START + index * PERIOD, sent))
        bags.write(messages, name)
        labelled = bags.folder / f'{name}_labelled'
        segment(bags.folder / name, labelled, replace(options, file_frames=3))
        found.append(labels_of(labelled))
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][time], found[1][time]) for time in found[0])
