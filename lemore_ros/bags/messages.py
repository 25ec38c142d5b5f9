"""Make and serialise the messages of a segmented image without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lemore_core.taxonomy import Taxonomy
from lemore_ros.bags.types import ASSUMED, DISTRIBUTIONS, HEADER, TIME
from lemore_ros.messages.rendering import classes_json
from lemore_ros.outputs import Output

STRING, LABEL_INFO = 'std_msgs/msg/String', 'vision_msgs/msg/LabelInfo'
VISION_CLASS = 'vision_msgs/msg/VisionClass'
# as in vision_msgs 4, a package that rosbags does not have
DEFINITIONS = {
    VISION_CLASS: 'uint16 class_id\nstring class_name\n',
    LABEL_INFO: 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n',
}


@lru_cache(1)
def output_types() -> Typestore:
    """Return the types of all messages that are written."""
    store = get_typestore(DISTRIBUTIONS[ASSUMED])
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


def make_message(kind: str, header: Any, fields: Mapping[str, Any]) -> Any:
    """Return a rosbags message, as :func:`lemore_ros.messages.rendering.ros_message` does of ROS."""
    types, stamp = output_types().types, header.stamp
    own = types[HEADER](types[TIME](stamp.sec, stamp.nanosec), header.frame_id)
    return types[kind](header=own, **fields)


def serialize(message: Any, kind: str) -> memoryview:
    """Serialise a message to little-endian CDR."""
    data: memoryview = output_types().serialize_cdr(message, kind, little_endian=True)
    return data


def latched(taxonomy: Taxonomy, threshold: float, time_ns: int) -> dict[str, memoryview]:
    """Return the two messages that describe the classes, serialised, by output.

    ``threshold`` is the confidence (0..1) below which labels are unlabelled, ``time_ns`` the
    stamp.
    """
    types = output_types().types
    classes = [types[VISION_CLASS](i, name) for i, name in enumerate(taxonomy.classes)]
    stamp = types[HEADER](types[TIME](time_ns // 10**9, time_ns % 10**9), '')
    return {
        'classes': serialize(types[STRING](classes_json(taxonomy)), STRING),
        'label_info': serialize(types[LABEL_INFO](stamp, classes, threshold), LABEL_INFO),
    }


def output_qos(output: Output) -> Qos:
    """Return the live node's profile of an output: reliable, class descriptions latched."""
    forever = QosTime(2**31 - 1, 2**32 - 1)
    return Qos(
        QosHistory.KEEP_LAST,
        1 if output.is_latched else 5,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if output.is_latched else QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        avoid_ros_namespace_conventions=False,
    )
