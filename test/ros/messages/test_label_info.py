from __future__ import annotations

from typing import Any

import pytest
from std_msgs.msg import Header

from lemore_core.taxonomy import load_groups, load_taxonomy
from lemore_ros.messages.label_info import label_info_message
from lemore_ros.node.output_settings import OutputSettings
from lemore_ros.node.parameters import NodeParameters
from lemore_ros.node.publishers import Publishers
from lemore_ros.node.qos import latched


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


def test_the_table_of_labels_is_sent_when_it_changes(graph: Any) -> None:
    kinds = pytest.importorskip('vision_msgs.msg')
    camvid = load_taxonomy('camvid')

    def settings(**values: Any) -> OutputSettings:
        return OutputSettings.of(NodeParameters(**values), camvid)

    outputs = Publishers(graph.peer, 'front/', settings(), lambda: None)
    sent = graph.collect(kinds.LabelInfo, '/peer/front/label_info', latched())
    graph.wait_for(lambda: sent, 'the table of labels')
    assert [entry.class_name for entry in sent[0].class_map] == list(camvid.classes)
    outputs.apply(settings(overlay_alpha=0.25))
    outputs.apply(settings(class_groups='auto', min_confidence=0.25))
    graph.wait_for(lambda: len(sent) > 1, 'the table of the groups')
    groups = load_groups('auto', camvid).taxonomy
    assert [entry.class_name for entry in sent[1].class_map] == list(groups.classes)
    assert sent[1].threshold == 0.25
    outputs.destroy()
