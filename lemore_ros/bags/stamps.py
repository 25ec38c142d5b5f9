"""Compare the stamps of a topic's messages with the times at which they were received."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

from lemore_core.common.errors import counted, span

NS = 10**9
JUMP_NS = NS  # messages are late by less
OTHER_CLOCK_NS = 60 * NS  # recorders are late by less


def stamp_notes(received: Sequence[int], stamps: Sequence[int], start_ns: int) -> list[str]:
    """Return what is odd about stamps, in words; all times in nanoseconds, 0 is no stamp.

    Jumps are those between two messages that the receive times do not have.
    """
    pairs = [(time, stamp) for time, stamp in zip(received, stamps, strict=True) if stamp]
    notes = []
    if zeros := len(stamps) - len(pairs):
        notes.append(f'{zeros} of {counted(len(stamps), "stamp")} are zero: receive times count')
    steps = [(a[0], b[1] - a[1], b[0] - a[0]) for a, b in pairwise(pairs)]
    jumps = [(time, step - pause) for time, step, pause in steps if abs(step - pause) > JUMP_NS]
    if jumps:
        time, length = max(jumps, key=lambda jump: abs(jump[1]))
        where = f'by {span(length / NS)} at {(time - start_ns) / NS:.2f} s'
        notes.append(f'{counted(len(jumps), "jump")} of the stamps, the longest {where}')
    if back := sum(step <= 0 for _, step, _ in steps):
        notes.append(f'{counted(back, "stamp")} not after the one before')
    behind = median_low(time - stamp for time, stamp in pairs) if pairs else 0
    if abs(behind) > OTHER_CLOCK_NS:
        side = 'before' if behind > 0 else 'after'
        notes.append(f'stamps of another clock, {span(abs(behind) / NS)} {side} the recorder')
    return notes
