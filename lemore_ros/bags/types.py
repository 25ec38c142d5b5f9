"""Topics of a bag and the types of their messages, as the bag or a ROS distribution defines them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from rosbags.convert.converter import STATIC_MSGTYPE_RENAMES, is_same_wireformat
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lemore_core.common.errors import in_one_line
from lemore_ros.bags.errors import BagError
from lemore_ros.outputs import BY_TYPE, Transport

ASSUMED = 'jazzy'
DISTRIBUTIONS = {s.name.removeprefix('ROS2_').lower(): s for s in Stores if 'ROS2_' in s.name}
HEADER, TIME = 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time'
IDL_RULER = '=' * 80 + '\n'
NONE = MessageDefinitionFormat.NONE
UNREAD = '(?<!disparity)(image|video)$|theora|h26[45]|ffmpeg'
CDR = 'cdr'


@dataclass(frozen=True)
class Topic:
    """A topic of one type; one name with two types is two topics.

    ``type`` is written as in ROS 2: ``sensor_msgs/msg/Image``. ``count`` is the number of messages
    by the index. ``definition`` is empty if the bag has none. ``qos`` holds the publishers' profiles.
    ``encoding`` is that of the messages; only ``cdr`` is deserialised.
    """

    name: str
    type: str
    count: int
    definition: MessageDefinition
    qos: tuple[Qos, ...] = ()
    encoding: str = CDR

    def __str__(self) -> str:
        return f'{self.name} ({self.kind})'

    @property
    def kind(self) -> str:
        """The type, and why messages that may be images are not read."""
        kind = self.type or 'a type without a name'
        if self.encoding != CDR:
            return f'{kind} as {self.encoding or "nothing known"}: only messages of ROS are read'
        remedy = 'not read, republish it as sensor_msgs/msg/Image or CompressedImage'
        return f'{kind}: {remedy}' if self.is_unread_image else kind

    @property
    def is_image(self) -> bool:
        """Whether the messages are images of any transport, depth images included."""
        return self.type in BY_TYPE and self.encoding == CDR

    @property
    def is_unread(self) -> bool:
        """Whether no message is read though it may be an image."""
        return self.encoding != CDR or self.is_unread_image

    @property
    def is_unread_image(self) -> bool:
        """Whether the messages seem to be images of a type or encoding that is not read."""
        return not self.is_image and re.search(UNREAD, self.type, re.IGNORECASE) is not None

    @property
    def transport(self) -> Transport:
        """The image transport."""
        return BY_TYPE[self.type]


def merge_topics(found: Iterable[Topic]) -> tuple[Topic, ...]:
    """Return the topics sorted by name, merging the publishers and files of each."""
    merged: dict[tuple[str, str], Topic] = {}
    for topic in found:
        key = topic.name, topic.type
        known = merged.get(key, replace(topic, count=0, qos=()))
        merged[key] = replace(
            topic if known.definition.format is NONE else known,
            count=known.count + topic.count,
            # a publisher is repeated in each file
            qos=tuple(dict.fromkeys((*known.qos, *topic.qos))),
        )
    return tuple(merged[key] for key in sorted(merged))


def full_name(kind: str) -> str:
    """Return a type with its folder, which ROS 1, ROS 2 Crystal and some writers leave out."""
    return kind.replace('/', '/msg/') if kind.count('/') == 1 else kind


class MessageTypes:
    """Deserialise messages by the definitions of the bag, or else those of a distribution."""

    def __init__(self, distribution: str = '') -> None:
        self.distribution = distribution if distribution in DISTRIBUTIONS else ASSUMED
        self.borrowed: set[str] = set()
        self._stores: dict[tuple[str, MessageDefinition], Typestore] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for the user if definitions were taken from a distribution."""
        names = ', '.join(sorted(self.borrowed))
        source = f'the definitions of ROS 2 {self.distribution}'
        return (f'the bag does not define {names}: using {source}',) if names else ()

    def deserialize(self, topic: Topic, data: bytes) -> Any:
        """Deserialise a CDR message."""
        store = self.store(topic)
        try:
            return store.deserialize_cdr(data, topic.type)
        except Exception as error:  # the generated code raises many types
            msg = f'{len(data)} bytes on {topic.name} are no {topic.type}: {in_one_line(error)}'
            raise BagError(msg) from error

    def store(self, topic: Topic) -> Typestore:
        """Return a typestore with the topic's type and all its parts."""
        key = topic.type, topic.definition
        if key not in self._stores:
            self._stores[key] = self._make(topic)
        return self._stores[key]

    def _make(self, topic: Topic) -> Typestore:
        if topic.definition.format is NONE:
            store = distribution_types(self.distribution)
            if topic.type not in store.fielddefs:
                source = f'neither the bag nor ROS 2 {self.distribution}'
                msg = f'{source} defines the type {topic.type} of {topic.name}'
                raise BagError(msg)
            self.borrowed.add(topic.type)
            return store
        store = get_typestore(Stores.EMPTY)
        try:
            store.register(_parse(topic))
        except Exception as error:
            reason = in_one_line(error)
            msg = f'the definition of {topic.type} in the bag cannot be parsed: {reason}'
            raise BagError(msg) from error
        return store


@lru_cache
def distribution_types(name: str = ASSUMED) -> Typestore:
    """Return the shared typestore of a ROS 2 distribution, such as ``jazzy``."""
    return get_typestore(DISTRIBUTIONS[name])


@lru_cache(1000)
def convert_ros1_type(
    name: str, definition: str
) -> tuple[str, MessageDefinition, Callable[[bytes], memoryview]]:
    """Return ROS 2 name and definition of a ROS 1 type, and a converter of messages to CDR."""
    name = STATIC_MSGTYPE_RENAMES.get(name, name)
    store, known = get_typestore(Stores.EMPTY), distribution_types()
    # ROS 1 headers have a sequence number, ROS 2 headers do not
    headers = {kind: known.fielddefs[kind] for kind in (HEADER, TIME)}
    store.register({**get_types_from_msg(definition, name), **headers})
    if name in known.fielddefs and is_same_wireformat(store, known, name, name):
        store = known
    text, _ = store.generate_msgdef(name, ros_version=2)
    made = MessageDefinition(MessageDefinitionFormat.MSG, text)
    return name, made, partial(store.ros1_to_cdr, typename=name)


def _parse(topic: Topic) -> dict[str, Any]:
    text = topic.definition.data
    if topic.definition.format is MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(text, topic.type))
    if not text.startswith(f'{IDL_RULER}IDL: '):
        return dict(get_types_from_idl(text))
    types: dict[str, Any] = {}
    for part in text.split(IDL_RULER)[1:]:
        # the first line is the type's name
        types |= get_types_from_idl(part.partition('\n')[2])
    return types
