"""Lifecycle transitions that a state does not have: refused by name."""

from __future__ import annotations

from typing import Any


def refuse_impossible_transitions(node: Any) -> None:
    """Answer requests for transitions that ``node`` cannot make, and log what it can.

    rclpy lets the error of such a transition escape from the service, whose client then never gets
    an answer.
    """
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
            f'transition {name!r} refused: the node is {machine.current_state[1]}, possible: '
            f'{", ".join(sorted(possible)) or "none"}'
        )
        response.success = False
        return response

    service.callback = answer
