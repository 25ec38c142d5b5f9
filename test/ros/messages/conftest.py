from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

DEFINITIONS = {
    'VisionClass': 'uint16 class_id\nstring class_name\n',
    'LabelInfo': 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n',
}


@pytest.fixture
def vision_msgs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make ``vision_msgs`` of its definitions; return the store of its types."""
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    messages = ModuleType('vision_msgs.msg')
    for name, text in DEFINITIONS.items():
        store.register(typesys.get_types_from_msg(text, f'vision_msgs/msg/{name}'))
        setattr(messages, name, store.types[f'vision_msgs/msg/{name}'])
    monkeypatch.setitem(sys.modules, 'vision_msgs', ModuleType('vision_msgs'))
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', messages)
    return store
