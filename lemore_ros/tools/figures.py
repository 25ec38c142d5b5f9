"""The figures of ``measure_latency``: round trips, transport and memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lemore_ros.tools.measuring import Load, MeasuredNode, Reading

TRANSPORT_SIZE, TRANSPORT_RATE_HZ = (1920, 1080), 30.0

Figures = dict[str, Any]


def measure_round_trip(target: MeasuredNode, load: Load) -> Figures:
    """Time images of one size, first with labels only and then with the overlay."""
    plain = target.measure(load)
    shown = dataclasses.replace(load, others=('overlay',))
    return round_trip(load, plain, target.measure(shown))


def round_trip(load: Load, plain: Reading, overlaid: Reading) -> Figures:
    """Return the milliseconds from the publish call to the labels, and what the node says of them."""
    latencies = plain.latencies_ms or [math.nan]
    median, p95 = (float(value) for value in np.percentile(latencies, [50, 95]))
    segmenter = plain.figure('segmenter_p50_ms')
    return {
        'size': f'{load.size[0]}x{load.size[1]}',
        'sent': plain.sent,
        'arrived': len(plain.latencies_ms),
        'total_p50_ms': round(median, 2),
        'total_p95_ms': round(p95, 2),
        'segmenter_p50_ms': segmenter,
        'rest_p50_ms': round(median - segmenter, 2),
        'work_p50_ms': plain.figure('work_p50_ms'),
        'work_with_overlay_p50_ms': overlaid.figure('work_p50_ms'),
    }


def measure_transport(target: MeasuredNode, images: int, *, profile: bool) -> Figures:
    """Count how many full-HD images at 30 Hz reach the node, with a Fast DDS profile or without."""
    load = Load(TRANSPORT_SIZE, TRANSPORT_RATE_HZ, images)
    reading = target.measure(load, profile=profile)
    received = reading.increase('received')
    share = round(100 * received / reading.sent, 1)
    return {
        'profile': profile,
        'sent': reading.sent,
        'received': received,
        'received_percent': share,
    }


def measure_memory(target: MeasuredNode, load: Load, cameras: int) -> Figures:
    """Read the resident megabytes (10^6 bytes) of a node that has labelled images of so many cameras."""
    names = tuple(f'camera{i}' for i in range(cameras)) if cameras > 1 else ('',)
    reading = target.measure(dataclasses.replace(load, cameras=names))
    return {'cameras': cameras, 'memory_mb': reading.figure('memory_mb')}
