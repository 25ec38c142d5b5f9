"""What a bag says of a topic before any of its messages is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)

from lemore_ros.outputs import COMPRESSED_IMAGE
from lemore_ros.transports import BY_TYPE, Transport


@dataclass(frozen=True)
class Topic:
    """A topic of one type; two of the same name and other types are two topics.

    ``type`` is as ROS 2 writes it: ``sensor_msgs/msg/Image``. ``count`` is the number of messages,
    as far as they can be counted without reading them. ``definition`` and ``digest`` are empty
    where the bag holds none. ``qos`` are the profiles of its publishers.
    """

    name: str
    type: str
    count: int
    definition: MessageDefinition
    digest: str
    qos: tuple[Qos, ...] = ()

    @property
    def is_compressed(self) -> bool:
        """Whether its messages are compressed images."""
        return self.type == COMPRESSED_IMAGE

    @property
    def is_image(self) -> bool:
        """Whether its messages are images, in whichever form; depth images are among them."""
        return self.type in BY_TYPE

    @property
    def transport(self) -> Transport:
        """The form of its images."""
        return BY_TYPE[self.type]


def topics_of(connections: Iterable[Connection]) -> tuple[Topic, ...]:
    """Return the topics, by name; what several publishers wrote on one is one topic."""
    found: dict[tuple[str, str], list[Connection]] = {}
    for connection in connections:
        found.setdefault((connection.topic, connection.msgtype), []).append(connection)
    return tuple(_topic(*key, publishers) for key, publishers in sorted(found.items()))


def _topic(name: str, kind: str, publishers: list[Connection]) -> Topic:
    defined = [c for c in publishers if c.msgdef.format is not MessageDefinitionFormat.NONE]
    qos = [
        profile
        for c in publishers
        if isinstance(c.ext, ConnectionExtRosbag2)
        for profile in c.ext.offered_qos_profiles
    ]
    return Topic(
        name,
        kind,
        sum(c.msgcount for c in publishers),
        (defined or publishers)[0].msgdef,
        next((c.digest for c in publishers if c.digest), ''),
        # several files of a bag tell of one publisher
        tuple(dict.fromkeys(qos)),
    )
