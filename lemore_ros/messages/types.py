"""Message classes by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_ros.transports import Transport


class TransportError(LemoreError):
    """Images in a form for which a package is not installed."""


def message_class(name: str) -> Any:
    """Return the class of a message type such as ``std_msgs/msg/String``, ``None`` if missing."""
    package, _, kind = name.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), kind)
    except ModuleNotFoundError:
        return None


def transport_class(transport: Transport) -> Any:
    """Return the class of a transport's messages.

    Raises:
        TransportError: their package is not installed.
    """
    kind = message_class(transport.type)
    if kind is None:
        msg = (
            f'image_transport is {transport.name}, and {transport.package} is not installed: '
            f'apt install ros-$ROS_DISTRO-{transport.package.replace("_", "-")}'
        )
        raise TransportError(msg)
    return kind
