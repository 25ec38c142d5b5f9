"""Segments the parts of bags on a Ray cluster whose machines share the bags' file system.

Every part is a Ray task that reads its stretch of the bag and leaves a file beside the others; only
names and counts travel through Ray. A bag of F images has at most ``max(64, F / 2000)`` parts
(``--file-frames`` divides further), and all of them read from and write to one file system: with
raw images that is what bounds the rate.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from lemore_core.errors import in_one_line
from lemore_core.system.child_env import same_modules
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.segmentation.processes import Done, PartOfJob, segment_part

RETRIES = 5
AUTO = 'auto'
REACH_S = 10


def on_ray(tasks: Sequence[PartOfJob], address: str) -> Iterator[Done]:
    """Segment the parts on the cluster at ``address`` (``auto``: this machine's, or a new one).

    A part whose worker or machine died is tried again by another, up to :data:`RETRIES` times.

    Raises:
        BagError: Ray is not installed, there is no cluster, or workers keep dying.

    """
    try:
        import ray
    except ImportError as error:
        msg = "a Ray cluster needs the package ray: pip install 'lemore_ros[ray]'"
        raise BagError(msg) from error
    was_connected = ray.is_initialized()
    if not was_connected:
        _connect(ray, address)
    try:
        yield from _segment(ray, tasks)
    finally:
        if not was_connected:
            ray.shutdown()


def _segment(ray: Any, tasks: Sequence[PartOfJob]) -> Iterator[Done]:
    there = ray.cluster_resources()
    remote = ray.remote(max_retries=RETRIES, max_calls=0)(segment_part)
    waiting: dict[Any, PartOfJob] = {}
    left = list(reversed(tasks))
    # no more tasks than machines can hold: a driver that ends leaves little behind
    most = max(2, 2 * int(there.get('CPU', 1)))
    while left or waiting:
        while left and len(waiting) < most:
            task = left.pop()
            device = task.job.options.model.device
            needs_gpu = device.startswith('cuda') or (device == AUTO and there.get('GPU', 0) > 0)
            needs = {'num_cpus': 1, 'num_gpus': int(needs_gpu)}
            waiting[remote.options(**needs).remote(task)] = task
        finished, _ = ray.wait(list(waiting), num_returns=1)
        for reference in finished:
            task = waiting.pop(reference)
            try:
                yield task, ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise BagError(in_one_line(error.cause)) from error
            except ray.exceptions.RayError as error:
                msg = (
                    f'part {task.part.index} of {task.job.source} was not segmented by Ray: '
                    f'{in_one_line(error).partition(". ")[0]}. Go on with --resume'
                )
                raise BagError(msg) from error


def _connect(ray: Any, address: str) -> None:
    options = {
        'logging_level': logging.WARNING,
        'log_to_driver': False,
        # workers on this machine import what this process does
        'runtime_env': {'env_vars': {'PYTHONPATH': same_modules()['PYTHONPATH']}},
    }
    try:
        if address != AUTO:
            # Ray would try for minutes
            where = urlsplit(address if '://' in address else f'//{address}')
            socket.create_connection((where.hostname, where.port), timeout=REACH_S).close()
        ray.init(address=address, **options)
    except (OSError, ValueError) as error:
        if address != AUTO:
            msg = f'there is no Ray cluster at {address}: {in_one_line(error)}'
            raise BagError(msg) from error
        ray.init(**options)
