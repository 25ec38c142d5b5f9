"""Running a node until it is asked to stop, and leaving in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import rclpy

from lemore_ros.node.compat import make_executor

STOPPING = (signal.SIGINT, signal.SIGTERM)
WAKE_S = 0.1


class StopSignals:
    """SIGINT and SIGTERM as a request to end, see :func:`stop_signals`."""

    def __init__(self) -> None:
        self.requested = False
        # the node whose callbacks run
        self.spinning: Any = None

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Record a signal.

        Raises:
            KeyboardInterrupt: the loop would not see it soon, because a network is being loaded,
                or it was asked before.
        """
        again, self.requested = self.requested, True
        if again or self.spinning is None or self.spinning.is_loading:
            raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Handle SIGINT and SIGTERM while the block runs.

    rclpy's own handlers shut the context down at once, under a frame that is still to be
    published; these ask :func:`spin` to return.
    """
    stop = StopSignals()
    former = {number: signal.signal(number, stop.handle) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def spin(node: Any, stop: StopSignals) -> None:
    """Run the callbacks of a node on this thread until a stop is requested or its context ends.

    A callback that raises is reported and does not end the node. ``node.is_loading`` tells that
    one of them may take long.

    Raises:
        ExecutorError: rclpy lacks the executor that the parameter ``executor`` names.
    """
    executor = make_executor(node.values.executor, node.context)
    executor.add_node(node)
    stop.spinning = node
    try:
        while rclpy.ok(context=node.context) and not stop.requested:
            _spin_once(executor, node)
    finally:
        stop.spinning = None
        executor.shutdown()


def _spin_once(executor: Any, node: Any) -> None:
    try:
        # a signal does not end the wait, hence a short one
        executor.spin_once(timeout_sec=WAKE_S)
    except Exception as error:  # noqa: BLE001 - the node lives on
        if rclpy.ok(context=node.context):
            node.get_logger().error(
                f'a callback failed: {type(error).__name__}: {error}', throttle_duration_sec=5.0
            )
