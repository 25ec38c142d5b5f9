"""Run the segmentation node: a lifecycle node that wires the parts together."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool

from lemore_core.common.errors import GpuContextLostError, LemoreError, in_one_line
from lemore_core.common.memory import release_memory
from lemore_core.segmenter import Segmenter
from lemore_core.segmenter_options import SegmenterOptions
from lemore_ros.node import lifecycle, overrides, parameters
from lemore_ros.node.diagnostics import CameraStats, Diagnostics
from lemore_ros.node.logs import CoreLog
from lemore_ros.node.parameters import NodeParameters
from lemore_ros.node.publishers import OutputSettings
from lemore_ros.node.worker import Worker

NAME = 'lemore_segmentation'

RCLError = rclpy_implementation.RCLError
ERROR = TransitionCallbackReturn.ERROR
SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class SegmentationNode(LifecycleNode):  # type: ignore[misc]  # rclpy is untyped here
    """Segment the images of topic ``image``, or of several cameras' topics.

    Configuring loads the network, activating opens the topics; deactivating and cleaning up undo
    them. Callbacks run on the executor's one thread and never wait for the network, which runs on
    the worker's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME, **options)
        # Node has a _parameters of its own
        self.values: NodeParameters = parameters.declare(self)
        self._groups_at_start = self.values.class_groups
        self.is_loading = False
        self.segmenter: Segmenter | None = None
        self.stats: dict[str, CameraStats] = {}
        self.worker: Worker | None = None
        self._diagnostics: Diagnostics | None = None
        self._log = CoreLog(self.get_logger())
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(SetBool, '~/set_enabled', self._on_set_enabled)
        self._duplicates = lifecycle.DuplicateNodeCheck(self)
        lifecycle.refuse_impossible_transitions(self)
        hints = overrides.unknown_values(self) + overrides.files_of_others(self, sys.argv)
        for hint in hints:
            self.get_logger().warning(hint)

    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and start the diagnostics."""
        return self._try('cannot configure', self._configure, FAILURE)

    def on_activate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Open the topics and start the worker."""
        return self._try('cannot activate', self._activate, FAILURE)

    def on_deactivate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame in flight and close the topics."""
        return self._try('cannot deactivate in good order', self._close_worker, ERROR)

    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Release the network and stop engine builds."""
        done = self._try('cannot clean up in good order', self._release, ERROR)
        release_memory()
        return done

    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Close and release everything, from any state."""
        return self._try('cannot shut down in good order', self._close_all, ERROR)

    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured."""
        self._try('cannot recover in good order', self._close_all, ERROR)
        # nothing is left to close, and a finalized node cannot be used again
        return SUCCESS

    def set_parameters_atomically(self, parameter_list: list[Any]) -> SetParametersResult:
        """Set parameters; refuse with a reason that names the value and what is allowed."""
        # checked first: rclpy's reasons do not name the parameter
        unknown = [entry.name for entry in parameter_list if not self.has_parameter(entry.name)]
        reason = parameters.unknown(unknown[0]) if unknown else self._refusal(parameter_list)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically([self._as_declared(one) for one in parameter_list])

    def start(self) -> bool:
        """Configure and activate without a lifecycle manager; return whether both succeeded."""
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    def close(self) -> None:
        """Shut down from any state, and destroy the node."""
        try:
            self.trigger_shutdown()
        except RCLError:
            # finalized already, or interrupted within a transition
            self.on_shutdown(LifecycleState('unknown', 0))
        self._log.close()
        self.destroy_node()

    def _on_gpu_lost(self, error: GpuContextLostError) -> None:
        self._leave(lifecycle.DEVICE_LOST, in_one_line(error))

    def _leave(self, code: int, reason: str) -> None:
        """End the process without destructors: a hung or lost GPU cannot be closed."""
        self.get_logger().fatal(f'{reason}: ends with exit code {code}, start it again')
        if self._diagnostics is not None:
            self._diagnostics.publish_last(reason)
        lifecycle.end_process(code)

    def _try(
        self, problem: str, step: Callable[[], None], otherwise: TransitionCallbackReturn
    ) -> TransitionCallbackReturn:
        try:
            step()
        except GpuContextLostError as error:
            self._on_gpu_lost(error)
            return ERROR
        except Exception as error:  # noqa: BLE001 - rclpy would swallow it unseen
            self.get_logger().error(f'{problem}: {in_one_line(error)}')
            return otherwise
        return SUCCESS

    def _configure(self) -> None:
        values, self.is_loading = self.values, True
        try:
            self.segmenter = load_segmenter(values)
            dataset = self.segmenter.taxonomy.name
            self._check(values, trusted=self._groups_at_start)
            self.stats = {name: CameraStats() for name in values.camera_names}
            constants = {'model': values.model, 'dataset': dataset}
            self._diagnostics = Diagnostics(
                self, self.stats, self.segmenter, constants, self._run_watchdog
            )
        except GpuContextLostError:
            raise
        except Exception:
            self._release()
            raise
        finally:
            self.is_loading = False
        status = self.segmenter.status
        runs_on = f'{status.backend}, {status.device}, {status.precision}'
        self.get_logger().info(f'model {values.model} ({dataset}) runs on {runs_on}')

    def _activate(self) -> None:
        if self.segmenter is not None:
            settings = _settings(self.values, self.segmenter)
            worker = Worker(self.segmenter, settings, self._on_gpu_lost)
            worker.start(self, self.stats)
            self.worker = worker
            for hint in overrides.idle_qos(self):
                self.get_logger().warning(hint)

    def _refusal(self, parameter_list: list[Any]) -> str:
        try:
            self._check(self._changed(parameter_list), trusted=self.values.class_groups)
        except LemoreError as error:
            return in_one_line(error)
        return ''

    def _as_declared(self, entry: Any) -> Any:
        """Return a parameter with the declared type: rclpy refuses 1 for 1.0, and road for [road]."""
        if entry.name not in parameters.PARAMETERS:
            return entry
        value = parameters.natural(entry.name, entry.value)
        value = list(value) if isinstance(value, tuple) else value
        return Parameter(entry.name, self.get_parameter(entry.name).type_, value)

    def _check(self, values: NodeParameters, trusted: str) -> None:
        """Refuse what does not fit the network, and groups but ``trusted`` that anybody may have set."""
        taxonomy = None if self.segmenter is None else self.segmenter.taxonomy
        if values.class_groups != trusted:
            parameters.check_groups(values.class_groups, self._groups_at_start, taxonomy)
        if taxonomy is not None:
            OutputSettings.of(values, taxonomy)

    def _changed(self, parameter_list: list[Any]) -> NodeParameters:
        return self.values.changed({entry.name: entry.value for entry in parameter_list})

    def _on_set_parameters(self, parameter_list: list[Any]) -> SetParametersResult:
        former, reason = self.values, ''
        try:
            self.values = self._changed(parameter_list)
            # rclpy calls this for the QoS parameters of new topics as well, which change nothing here
            if self.values != former:
                self._apply_values()
        except Exception as error:  # noqa: BLE001 - the client would never get an answer
            self.values, reason = former, in_one_line(error)
            self._apply_values()
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_values(self) -> None:
        if self.worker is not None and self.segmenter is not None:
            self.worker.apply(_settings(self.values, self.segmenter))

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        response.success = self.worker is not None
        response.message = 'the node is not active: configure and activate it first'
        if self.worker is not None:
            self.worker.pause('' if request.data else 'paused')
            response.message = 'segmenting' if request.data else 'paused, the network stays loaded'
        return response

    def _run_watchdog(self) -> None:
        self._duplicates.run()
        stuck_s = 0 if self.worker is None else self.worker.run_watchdog()
        if stuck_s > self.values.hang_timeout_s > 0:
            reason = f'the network has not answered for {stuck_s} s (hang_timeout_s)'
            self._leave(lifecycle.HUNG, reason)

    def _close_all(self) -> None:
        with ExitStack() as steps:
            steps.callback(self._release)
            steps.callback(self._close_worker)

    def _close_worker(self) -> None:
        # clear the reference first, so that on_error does not close it again
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.close()

    def _release(self) -> None:
        diagnostics, self._diagnostics = self._diagnostics, None
        segmenter, self.segmenter = self.segmenter, None
        with ExitStack() as steps:
            if segmenter is not None:
                steps.callback(segmenter.close)
            if diagnostics is not None:
                steps.callback(diagnostics.destroy)


def load_segmenter(values: NodeParameters) -> Segmenter:
    """Load the network that the parameters name, live, and run it once."""
    options = SegmenterOptions(
        model=values.model,
        dataset=values.dataset,
        backend=values.backend,
        device=values.device,
        precision=values.precision,
        size=values.network_size,
        batch=len(values.camera_names),
        wait_for_engine=values.wait_for_engine,
    )
    segmenter = options.load(live=True)
    segmenter.keep_sizes(len(values.camera_names))
    # cameras are usually larger than the network input
    height, width = segmenter.trained_size
    segmenter.warm_up(2 * height, 2 * width, 'bgr8')
    return segmenter


def _settings(values: NodeParameters, segmenter: Segmenter) -> OutputSettings:
    return OutputSettings.of(values, segmenter.taxonomy, segmenter.card.scenes)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code."""
    # outermost: a second signal may come while the first one is obeyed
    with suppress(KeyboardInterrupt), lifecycle.StopSignals() as stop:
        try:
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
            return _run(stop, args or sys.argv)
        # arguments that are not UTF-8 have no place in a message of ROS
        except (LemoreError, ParameterException, RCLError, UnicodeError) as error:
            get_logger(NAME).fatal(f'cannot start: {in_one_line(error)}')
            return lifecycle.CANNOT_START
        finally:
            rclpy.try_shutdown()
    return lifecycle.STOPPED


def _run(stop: lifecycle.StopSignals, arguments: Sequence[str]) -> int:
    node = SegmentationNode()
    try:
        for hint in overrides.before_ros_args(arguments):
            node.get_logger().warning(hint)
        # an interrupt within a library's bindings may come out as another error
        if node.values.autostart and not node.start() and not stop.requested:
            return lifecycle.CANNOT_START
        lifecycle.spin(node, stop)
    finally:
        node.close()
    return lifecycle.STOPPED


def run() -> NoReturn:
    """Run the node as a process, and end it without the interpreter's teardown, which takes seconds."""
    code = main()
    for number in lifecycle.STOPPING:  # one that comes now is about what is done already
        signal.signal(number, signal.SIG_IGN)
    gc.collect()  # the node and its context: the middleware frees its shared memory
    # ends children and temporary files
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does before os._exit
    lifecycle.end_process(code)


if __name__ == '__main__':
    run()
