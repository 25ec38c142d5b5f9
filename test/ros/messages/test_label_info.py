from __future__ import annotations

import sys
from types import ModuleType

import pytest
from std_msgs.msg import Header

from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_ros.messages.label_info import label_info_message

DEFINITIONS = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
    'vision_msgs/msg/LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
    ),
}


@pytest.fixture
def typestore(monkeypatch: pytest.MonkeyPatch) -> object:
    """Make ``vision_msgs`` of its own definitions, where it is not installed."""
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(typesys.get_types_from_msg(text, name))
    messages = ModuleType('vision_msgs.msg')
    for name in DEFINITIONS:
        setattr(messages, name.rpartition('/')[2], store.types[name])
    monkeypatch.setitem(sys.modules, 'vision_msgs', ModuleType('vision_msgs'))
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', messages)
    return store


def test_every_class_is_listed(typestore: object) -> None:
    kinds = typestore.types  # type: ignore[attr-defined]
    taxonomy = load_taxonomy('camvid')
    header = kinds['std_msgs/msg/Header'](kinds['builtin_interfaces/msg/Time'](7, 8), 'cam')
    message = label_info_message(taxonomy, header, threshold=0.25)
    assert isinstance(message, kinds['vision_msgs/msg/LabelInfo'])
    kind = 'vision_msgs/msg/LabelInfo'
    raw = typestore.serialize_cdr(message, kind)  # type: ignore[attr-defined]
    back = typestore.deserialize_cdr(raw, kind)  # type: ignore[attr-defined]
    assert back.header == header
    assert back.threshold == 0.25
    pairs = [(entry.class_id, entry.class_name) for entry in back.class_map]
    assert pairs == list(enumerate(taxonomy.classes))


@pytest.mark.usefixtures('typestore')
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
