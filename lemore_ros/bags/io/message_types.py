"""Message types as a bag defines them, or as a ROS distribution does where the bag does not."""

from __future__ import annotations

from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import (
    Stores,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.topics import Topic

ASSUMED = 'jazzy'
IDL_RULER = '=' * 80 + '\n'


class MessageTypes:
    """Deserialises the messages of one bag; a type is worked out when it is first needed.

    ``distribution`` is whose definitions are taken for topics that come without: the bag's own,
    or :data:`ASSUMED` where it names none. ``borrowed`` are the types that were taken so.
    """

    def __init__(self, distribution: str = '') -> None:
        self.distribution = distribution if distribution in known_distributions() else ASSUMED
        self.borrowed: set[str] = set()
        self._stores: dict[tuple[str, MessageDefinition], Typestore] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: whose definitions were taken."""
        names = ', '.join(sorted(self.borrowed))
        what = f'the bag does not define {names}: taken as ROS 2 {self.distribution} defines them'
        return (what,) if names else ()

    def deserialize(self, topic: Topic, data: bytes) -> Any:
        """Return the message of ``data`` (CDR), with the fields that its definition has.

        Raises:
            BagError: the bytes are no such message, or nobody defines its type.
        """
        store = self.store(topic)
        try:
            return store.deserialize_cdr(data, topic.type)
        except Exception as error:  # the generated code meets damage in its own ways
            msg = f'{len(data)} bytes on {topic.name} are no {topic.type}: {in_one_line(error)}'
            raise BagError(msg) from error

    def store(self, topic: Topic) -> Typestore:
        """Return a typestore that holds the topic's type and all that it is made of.

        Raises:
            BagError: the definition cannot be read, or there is none.
        """
        key = topic.type, topic.definition
        if key not in self._stores:
            self._stores[key] = self._make(topic)
        return self._stores[key]

    def _make(self, topic: Topic) -> Typestore:
        if topic.definition.format is MessageDefinitionFormat.NONE:
            store = distribution_types(self.distribution)
            if topic.type not in store.fielddefs:
                msg = (
                    f'the bag does not define the type {topic.type} of {topic.name}, '
                    f'nor does ROS 2 {self.distribution}'
                )
                raise BagError(msg)
            self.borrowed.add(topic.type)
            return store
        store = get_typestore(Stores.EMPTY)
        try:
            for types in _parse(topic):
                store.register(types)
        except Exception as error:
            reason = in_one_line(error)
            msg = f'the definition of {topic.type} in the bag cannot be read: {reason}'
            raise BagError(msg) from error
        return store


def known_distributions() -> tuple[str, ...]:
    """Return the names of the ROS 2 distributions whose types are known."""
    return tuple(
        store.name.removeprefix('ROS2_').lower()
        for store in Stores
        if store.name.startswith('ROS2_')
    )


def distribution_types(name: str) -> Typestore:
    """Return the types of a ROS 2 distribution, such as ``jazzy``."""
    return get_typestore(Stores[f'ROS2_{name.upper()}'])


def _parse(topic: Topic) -> list[Any]:
    text = topic.definition.data
    if topic.definition.format is MessageDefinitionFormat.MSG:
        return [get_types_from_msg(text, topic.type)]
    if not text.startswith(f'{IDL_RULER}IDL: '):
        return [get_types_from_idl(text)]
    # after the ruler comes a line with the type's name
    parts = [part.partition('\n')[2] for part in text.split(IDL_RULER)[1:]]
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= get_types_from_idl(part)
    return [merged]
