from __future__ import annotations

import pytest
from std_msgs.msg import Header

from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_ros.messages.label_info import label_info_message


def test_every_class_is_listed() -> None:
    kinds = pytest.importorskip('vision_msgs.msg')
    header, taxonomy = Header(frame_id='cam'), load_taxonomy('camvid')
    message = label_info_message(taxonomy, header, threshold=0.25)
    assert isinstance(message, kinds.LabelInfo)
    assert message.header is header
    assert message.threshold == 0.25
    pairs = [(entry.class_id, entry.class_name) for entry in message.class_map]
    assert pairs == list(enumerate(taxonomy.classes))


def test_groups_are_listed_in_place_of_classes() -> None:
    pytest.importorskip('vision_msgs.msg')
    groups = load_groups('auto', load_taxonomy('ade20k'))
    message = label_info_message(groups.taxonomy, Header())
    assert message.class_map[0].class_name == 'traversable'
    assert len(message.class_map) == 7
    assert message.threshold == 0.0
