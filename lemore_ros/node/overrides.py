"""Name what a node was started with and does not take: rcl and rclpy pass over it in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from lemore_core.common.errors import LemoreError, shown
from lemore_core.common.yaml_file import read_yaml
from lemore_ros.node.parameters import PARAMETERS, ParameterError, start_values, unknown

QOS = 'qos_overrides.'


def unknown_values(node: Any) -> list[str]:
    """Return an error for each start value of an unknown parameter."""
    return [
        unknown(name)
        for name in start_values(node)
        if not node.has_parameter(name) and not name.startswith(QOS)
    ]


def files_of_others(node: Any, arguments: Sequence[str]) -> list[str]:
    """Return an error for each parameter file without a section of ``node``: rcl passes over it."""
    own, errors = node.get_fully_qualified_name(), []
    for option_name, path in pairwise(arguments):
        if option_name != '--params-file':
            continue
        with suppress(LemoreError):  # rcl has read it
            names = list(_sections(read_yaml(Path(path), 'parameters', ParameterError)))
            patterns = [
                re.escape(n).replace(r'/\*\*', '(/.*)?').replace(r'\*', '[^/]*') for n in names
            ]
            if not any(re.fullmatch(pattern, own) for pattern in patterns):
                found = ', '.join(map(shown, names)) or 'nobody'
                errors.append(f'{shown(path)} is not for this node, {own}: it is for {found}')
    return errors


def before_ros_args(arguments: Sequence[str]) -> list[str]:
    """Return an error for parameters before --ros-args: rcl takes ``model:=nano`` for a remap rule."""
    given = list(takewhile(lambda word: word != '--ros-args', arguments[1:]))
    names = {word.partition(':=')[0] for word in given}
    if not names & {'-p', '--param', '--params-file', *PARAMETERS}:
        return []
    return [f'{shown(" ".join(given))} sets no parameter: write --ros-args -p NAME:=VALUE']


def _sections(values: Any, name: str = '') -> Iterator[str]:
    """Yield the full names of the nodes that the values of a parameter file are for."""
    for key, inner in values.items() if isinstance(values, Mapping) else ():
        if key == 'ros__parameters':
            yield name
        elif isinstance(inner, Mapping):
            yield from _sections(inner, f'{name}/{str(key).strip("/")}')


def idle_qos(node: Any) -> list[str]:
    """Return an error for each QoS override of no topic, once ``node`` has declared its own."""
    return [
        f'{shown(name)} sets no QoS of this node: it has the form qos_overrides.TOPIC.publisher.POLICY, or '
        'subscription, TOPIC after remapping, POLICY one of depth, durability, history, reliability'
        for name in start_values(node)
        if name.startswith(QOS) and not node.has_parameter(name)
    ]
