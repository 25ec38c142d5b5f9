"""Spreads the parts of bags over a Ray cluster whose machines share the bags' file system.

Every part is a task that reads its stretch of the bag and leaves a file beside the others; only
names and counts travel through Ray. What bounds this, for 1,000 machines:

- A bag of F frames has at most ``max(64, F / 2000)`` parts, so one short bag keeps 64 workers busy
  and no more; an archive of many bags has parts enough. ``--file-frames`` divides further.
- All of them read from and write to one file system. A worker on a GPU that labels 500 frames of
  1080p a second reads up to 3 GB/s of raw images, and writes the same and its results: a thousand
  need 3 TB/s each way, which no file server gives. With JPEG images and ``--only-results --outputs
  labels/compressed`` it is near 0.1 GB/s each. Long before the scheduler, this is the bound.
- The tail: when parts run out, machines wait for the last ones. It lasts one part, about a minute,
  of the parts' number over the machines' number; tasks are given out longest bag first.
- Starting: a worker loads (and on a CPU exports) the network once, 5 to 30 s, which pays from a
  few parts a worker on. TensorRT engines come from ``engine_cache`` on the shared file system.
- The driver: a task costs it about a millisecond and a journal file of a few kilobytes; 1,000
  workers that finish a part a minute are 17 a second. It plans bags one after the other, reading
  the index and one image a topic of each: some 10 to 100 ms a bag.
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
from lemore_ros.bags.segmentation.spread import Done, Task, make

RETRIES = 5
AUTO = 'auto'
REACH_S = 10


def over_ray(tasks: Sequence[Task], address: str) -> Iterator[Done]:
    """Make the parts on the cluster at ``address`` (``auto``: the one of this machine, or a new one).

    A part whose worker or machine died is made again by another, up to :data:`RETRIES` times.

    Raises:
        BagError: Ray is not installed, there is no cluster, or workers keep dying.

    """
    ray = _ray()
    was_connected = ray.is_initialized()
    if not was_connected:
        _connect(ray, address)
    try:
        yield from _spread(ray, tasks)
    finally:
        if not was_connected:
            ray.shutdown()


def _spread(ray: Any, tasks: Sequence[Task]) -> Iterator[Done]:
    gpus = float(ray.cluster_resources().get('GPU', 0.0))
    remote = ray.remote(max_retries=RETRIES, max_calls=0)(make)
    waiting: dict[Any, Task] = {}
    # no more tasks than machines can hold: a driver that ends leaves little behind
    left = list(reversed(tasks))
    most = max(2, 2 * int(ray.cluster_resources().get('CPU', 1)))
    while left or waiting:
        while left and len(waiting) < most:
            task = left.pop()
            waiting[remote.options(**_resources(task, gpus)).remote(task)] = task
        finished, _ = ray.wait(list(waiting), num_returns=1)
        for reference in finished:
            task = waiting.pop(reference)
            try:
                yield task, ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise BagError(in_one_line(error.cause)) from error
            except ray.exceptions.RayError as error:
                msg = (
                    f'part {task.part.index} of {task.job.source} was not made by Ray: '
                    f'{in_one_line(error).partition(". ")[0]}. Go on with --resume'
                )
                raise BagError(msg) from error


def _resources(task: Task, gpus: float) -> dict[str, float]:
    device = task.job.options.model.device
    wants_gpu = device.startswith('cuda') or (device == AUTO and gpus > 0)
    return {'num_gpus': 1, 'num_cpus': 1} if wants_gpu else {'num_cpus': 1}


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        msg = "spreading over a cluster needs the package ray: pip install 'lemore_ros[ray]'"
        raise BagError(msg) from error
    return ray


def _require_reachable(address: str) -> None:
    # Ray would try for minutes
    where = urlsplit(address if '://' in address else f'//{address}')
    try:
        with socket.create_connection((where.hostname, where.port), timeout=REACH_S):
            return
    except (OSError, ValueError) as error:
        msg = f'there is no Ray cluster at {address}: {in_one_line(error)}'
        raise BagError(msg) from error


def _connect(ray: Any, address: str) -> None:
    if address != AUTO:
        _require_reachable(address)
    options = {
        'logging_level': logging.WARNING,
        'log_to_driver': False,
        # workers on this machine import what this process does
        'runtime_env': {'env_vars': {'PYTHONPATH': same_modules()['PYTHONPATH']}},
    }
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        if address != AUTO:
            msg = f'there is no Ray cluster at {address}: {in_one_line(error)}'
            raise BagError(msg) from error
        ray.init(**options)
