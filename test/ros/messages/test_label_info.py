from __future__ import annotations

from typing import Any

import pytest
from std_msgs.msg import Header

from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_ros.messages.label_info import label_info_message


def test_every_class_is_listed(vision_msgs: Any) -> None:
    kinds = vision_msgs.types
    taxonomy = load_taxonomy('camvid')
    header = kinds['std_msgs/msg/Header'](kinds['builtin_interfaces/msg/Time'](7, 8), 'cam')
    message = label_info_message(taxonomy, header, threshold=0.25)
    assert isinstance(message, kinds['vision_msgs/msg/LabelInfo'])
    kind = 'vision_msgs/msg/LabelInfo'
    raw = vision_msgs.serialize_cdr(message, kind)
    back = vision_msgs.deserialize_cdr(raw, kind)
    assert back.header == header
    assert back.threshold == 0.25
    pairs = [(entry.class_id, entry.class_name) for entry in back.class_map]
    assert pairs == list(enumerate(taxonomy.classes))


@pytest.mark.usefixtures('vision_msgs')
def test_groups_are_listed_in_place_of_classes() -> None:
    groups = load_groups('auto', load_taxonomy('ade20k'))
    message = label_info_message(groups.taxonomy, Header())
    assert message.class_map[0].class_name == 'traversable'
    assert len(message.class_map) == 7
    assert message.threshold == 0.0


def test_the_real_message_takes_it() -> None:
    kinds = pytest.importorskip('vision_msgs.msg')
    header = Header(frame_id='cam')
    message = label_info_message(load_taxonomy('camvid'), header, threshold=0.5)
    assert isinstance(message, kinds.LabelInfo)
    assert message.header is header
    assert message.class_map[3].class_name == 'road'
    assert message.threshold == 0.5
