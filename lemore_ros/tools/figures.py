"""The figures of ``measure_latency``: round trips, transport and memory."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from lemore_ros.tools.measuring import Load, MeasuredNode, Reading

TRANSPORT_SIZE, TRANSPORT_RATE_HZ = (1920, 1080), 30.0


@dataclass(frozen=True)
class RoundTrip:
    """From the publish call to the labels, in milliseconds; what the probe and the node saw."""

    size: str
    sent: int
    arrived: int
    total_p50_ms: float
    total_p95_ms: float
    segmenter_p50_ms: float
    rest_p50_ms: float
    work_p50_ms: float
    work_with_overlay_p50_ms: float


@dataclass(frozen=True)
class Transport:
    """How many of a full-HD camera's images reached the node, with a Fast DDS profile and not."""

    profile: bool
    sent: int
    received: int
    received_percent: float


@dataclass(frozen=True)
class Memory:
    """Resident memory of the node's process, in megabytes (10^6 bytes)."""

    cameras: int
    memory_mb: float


def measure_round_trip(target: MeasuredNode, load: Load) -> RoundTrip:
    """Time images of one size, first with labels only and then with the overlay."""
    plain = target.measure(load)
    shown = dataclasses.replace(load, others=('overlay',))
    return round_trip(load, plain, target.measure(shown))


def round_trip(load: Load, plain: Reading, overlaid: Reading) -> RoundTrip:
    """Return the figures of two readings, without the overlay and with it."""
    latencies = plain.latencies_ms or [math.nan]
    median, p95 = (float(value) for value in np.percentile(latencies, [50, 95]))
    segmenter = plain.figure('segmenter_p50_ms')
    return RoundTrip(
        size=f'{load.size[0]}x{load.size[1]}',
        sent=plain.sent,
        arrived=len(plain.latencies_ms),
        total_p50_ms=round(median, 2),
        total_p95_ms=round(p95, 2),
        segmenter_p50_ms=segmenter,
        rest_p50_ms=round(median - segmenter, 2),
        work_p50_ms=plain.figure('work_p50_ms'),
        work_with_overlay_p50_ms=overlaid.figure('work_p50_ms'),
    )


def measure_transport(target: MeasuredNode, images: int, *, profile: bool) -> Transport:
    """Count how many full-HD images at 30 Hz reach the node."""
    load = Load(TRANSPORT_SIZE, TRANSPORT_RATE_HZ, images)
    reading = target.measure(load, profile=profile)
    received = reading.increase('received')
    return Transport(profile, reading.sent, received, round(100 * received / reading.sent, 1))


def measure_memory(target: MeasuredNode, load: Load, cameras: int) -> Memory:
    """Read the memory of a node that has labelled images of so many cameras."""
    names = tuple(f'camera{i}' for i in range(cameras)) if cameras > 1 else ('',)
    reading = target.measure(dataclasses.replace(load, cameras=names))
    return Memory(cameras, reading.figure('memory_mb'))
