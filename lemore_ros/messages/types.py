"""Message classes by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def message_class(name: str) -> Any:
    """Return the class of a message type such as ``std_msgs/msg/String``, ``None`` if missing."""
    package, _, kind = name.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), kind)
    except ModuleNotFoundError:
        return None
