"""Start, run and stop the node's process: signals, executor, exit codes, transitions, name check."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import rclpy
from rclpy.executors import SingleThreadedExecutor

from lemore_core.common.errors import in_one_line, shown
from lemore_ros.node.parameters import ParameterError

STOPPED = 0
# wrong parameters, no such model: the next start would end the same way
CANNOT_START = 1
# the GPU is lost, or inference does not return: a launcher should start the node again
DEVICE_LOST = 70
HUNG = 71
RESTART = frozenset({DEVICE_LOST, HUNG})

STOPPING = (signal.SIGINT, signal.SIGTERM)
WAKE_S = 0.1
EVENTS = 'events'
# checks, one a second: a node that was killed stays known for 20 s, the lease of the middleware
DUPLICATE_CHECKS = 25


class StopSignals:
    """Take SIGINT and SIGTERM as requests that :func:`spin` returns, while the block runs."""

    # rclpy's own handlers shut the context down before the frame in flight is published

    def __init__(self) -> None:
        self.requested = False
        # the node whose callbacks run
        self.spinning: Any = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:  # noqa: PYI034 - Self needs Python 3.11
        self._former = {number: signal.signal(number, self._handle) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        # a second signal, or one while a model is loading, does not wait
        again, self.requested = self.requested, True
        if again or self.spinning is None or self.spinning.is_loading:
            raise KeyboardInterrupt


def spin(node: Any, stop: StopSignals) -> None:
    """Run the callbacks of a node until a stop is requested; log what they raise."""
    executor = _make_executor(node.values.executor, node.context)
    executor.add_node(node)
    stop.spinning = node
    try:
        while rclpy.ok(context=node.context) and not stop.requested:
            try:
                # a signal does not end the wait, hence a short one
                executor.spin_once(timeout_sec=WAKE_S)
            except Exception as error:  # noqa: BLE001, PERF203 - the node lives on
                if rclpy.ok(context=node.context):
                    text = f'a callback failed: {in_one_line(error)}'
                    node.get_logger().error(text, throttle_duration_sec=5.0)
    finally:
        stop.spinning = None
        executor.shutdown()


def end_process(code: int) -> NoReturn:
    """End the process at once, without destructors and exit handlers."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has ended, or it is closed
            stream.flush()
    os._exit(code)


def _make_executor(kind: str, context: Any) -> Any:
    if kind != EVENTS:
        return SingleThreadedExecutor(context=context)
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError as error:  # Humble, and Jazzy before rclpy 7.1.5
        msg = "executor is 'events', and this rclpy has no EventsExecutor: set it to single"
        raise ParameterError(msg) from error
    return EventsExecutor(context=context)


def refuse_impossible_transitions(node: Any) -> None:
    """Answer requests for transitions that ``node`` cannot make, and log the possible ones."""
    # in rclpy their error escapes from the service, whose client never gets an answer
    service, machine = node._service_change_state, node._state_machine  # noqa: SLF001 - no other way
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        asked = request.transition
        possible = {label: number for number, label, *_ in machine.available_transitions}
        if asked.label in possible or (not asked.label and asked.id in possible.values()):
            return change_state(request, response)
        names = {number: label for number, label, *_ in machine.transition_graph}
        name = asked.label or names.get(asked.id, asked.id)
        node.get_logger().error(
            f'transition {shown(name)} refused: the node is {machine.current_state[1]}, possible: '
            f'{", ".join(sorted(possible)) or "none"}'
        )
        response.success = False
        return response

    service.callback = answer


class DuplicateNodeCheck:
    """Warn once if another node has the same name for ``checks`` checks in a row."""

    def __init__(self, node: Any, checks: int = DUPLICATE_CHECKS) -> None:
        self._node, self._checks, self._found = node, checks, 0

    def run(self) -> None:
        """Check once; called once a second."""
        mine = (self._node.get_name(), self._node.get_namespace())
        names = list(map(tuple, self._node.get_node_names_and_namespaces()))
        self._found = self._found + 1 if names.count(mine) > 1 else 0
        if self._found == self._checks:
            self._node.get_logger().warning(
                f'another node is called {self._node.get_fully_qualified_name()} too: services and '
                'parameters may reach either, and both publish on the same topics. Give one another name (-r __node:=NAME) or namespace'
            )
