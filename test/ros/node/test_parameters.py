from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters
from rclpy.parameter import Parameter

from lemore_ros.node import parameters
from lemore_ros.node.overrides import files_of_others, unknown_values
from lemore_ros.node.parameters import (
    LIVE,
    PARAMETERS,
    NodeParameters,
    ParameterError,
    from_text,
    natural,
    parameters_page,
    parameters_yaml,
)

FILE = Path(__file__).parents[3] / 'config' / 'segmentation.yaml'
NAME = '/lemore_segmentation'

WRONG = [
    ('model', 'huge', "model is 'huge', allowed: nano, tiny, small, base, or a path"),
    ('model', 3, 'model is 3, allowed: nano'),
    ('backend', 'tensor', "backend is 'tensor', allowed: one of auto, onnxruntime, torch"),
    ('device', 'cuda:x', "device is 'cuda:x', allowed: auto, cpu, cuda, or cuda:N"),
    ('overlay_alpha', 1.5, 'overlay_alpha is 1.5, allowed: a number from 0 to 1'),
    ('network_height', 9000, 'network_height is 9000, allowed: 0 (automatic), or 32 to 8192'),
    ('network_height', 8, 'network_height is 8, allowed: 0 (automatic), or 32 to 8192'),
    ('network_width', 64, 'network_height is 0 and network_width is 64, allowed: both 0'),
    ('autostart', 1, 'autostart is 1, allowed: true or false'),
    ('camera_names', 'front', "camera_names is 'front', allowed"),
    ('camera_names', ('front', ''), "camera_names is ('front', ''), allowed: a list of names such"),
    ('camera_names', ('left', 'left'), "camera_names is ('left', 'left'), allowed"),
    ('camera_names', ('1st',), "camera_names is ('1st',), allowed"),
    ('camera_names', (), 'camera_names is (), allowed'),
    ('masks', 257 * ('road',), 'masks has 257 entries, allowed: up to 256'),
    ('class_groups', 5000 * 'x', "class_groups is 'xxx"),
    ('image_transport', 'theora', "image_transport is 'theora', allowed: one of raw, compressed"),
    ('rotate', (45,), 'rotate is (45,), allowed: some of 0, 90, 180 and 270'),
    ('rotate', (0, 180), 'rotate is (0, 180), allowed: some of'),
    ('output_size', '640', "output_size is '640', allowed: camera, network, or WIDTHxHEIGHT"),
    ('output_size', '0x480', "output_size is '0x480', allowed"),
    ('max_rate_hz', -1.0, 'max_rate_hz is -1.0, allowed: a number from 0 to 1000'),
]


def test_file_and_page_list_every_parameter_with_its_default() -> None:
    assert FILE.read_text(encoding='utf-8') == parameters_yaml()
    page = FILE.parents[1] / 'docs' / 'parameters.md'
    assert page.read_text(encoding='utf-8') == parameters_page()
    values = yaml.safe_load(parameters_yaml())['/**']['ros__parameters']
    values = {name: natural(name, value) for name, value in values.items()}
    assert values == dataclasses.asdict(NodeParameters())
    assert NodeParameters(**values) == NodeParameters()


@pytest.mark.parametrize(('name', 'value', 'expected'), WRONG)
def test_a_wrong_value_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ParameterError) as error:
        NodeParameters(**{name: value})
    assert expected in str(error.value)


def test_every_kind_of_right_value_is_taken() -> None:
    NodeParameters(model='/models/mine.onnx', dataset='/models/mine.yaml', device='cuda:1')
    assert NodeParameters(network_height=96, network_width=128).network_size == (96, 128)
    assert NodeParameters().network_size is None
    two = NodeParameters(camera_names=('front', 'rear'), rotate=(0, 180))
    assert [two.rotation_of(name) for name in two.camera_names] == [0, 180]
    for alpha in (0.0, 1.0):
        assert NodeParameters(overlay_alpha=alpha).overlay_alpha == alpha


def test_texts_and_lists_are_read_from_launch_arguments() -> None:
    assert from_text('model', 'nano') == 'nano'
    assert from_text('camera_names', "[front, 'rear']") == ('front', 'rear')
    with pytest.raises(ParameterError, match=r"backend is 'caffe', allowed: one of auto"):
        from_text('backend', 'caffe')


@pytest.mark.usefixtures('graph')
def test_start_values_are_checked_and_converted() -> None:
    node = rclpy.create_node('bare', parameter_overrides=[Parameter('model', value=3)])
    with pytest.raises(ParameterError, match='model is 3, allowed: nano'):
        parameters.declare(node)
    node.destroy_node()
    given = {'overlay_alpha': 1, 'rotate': 90, 'camera_names': 'front', 'masks': []}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    node = rclpy.create_node('bare', parameter_overrides=overrides)
    values = parameters.declare(node)
    assert (values.overlay_alpha, values.rotate, values.camera_names) == (1.0, (90,), ('front',))
    assert values.masks == parameters.DEFAULTS['masks'] == natural('masks', None)
    assert node.get_parameter('overlay_alpha').type_ == Parameter.Type.DOUBLE
    node.destroy_node()


def test_every_parameter_is_described(graph: Any) -> None:
    graph.node()
    names = list(PARAMETERS)
    request = DescribeParameters.Request(names=names)
    answer = graph.call(DescribeParameters, f'{NAME}/describe_parameters', request)
    by_name = {found.name: found for found in answer.descriptors}
    assert list(by_name) == names
    for name, found in by_name.items():
        assert found.description == PARAMETERS[name].text
        assert found.additional_constraints.startswith('allowed: ')
        assert found.read_only is (name not in LIVE)
    assert by_name['overlay_alpha'].type == ParameterType.PARAMETER_DOUBLE
    assert by_name['overlay_alpha'].floating_point_range[0].to_value == 1.0
    assert by_name['network_height'].integer_range[0].to_value == 8192


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('overlay_alpha', 2.0, 'overlay_alpha is 2.0, allowed: a number from 0 to 1'),
        ('overlay_alpha', 'x', "overlay_alpha is 'x', allowed: a number from 0 to 1"),
        ('backend', 'torch', 'backend is read-only: it is read when the node starts'),
        ('backedn', 'torch', "'backedn' is no parameter of this node, did you mean backend?"),
        ('robot', 1, "'robot' is no parameter of this node"),
        (9999 * 'r', 1, f"'{199 * 'r'}… is no parameter of this node"),
    ],
)
def test_a_wrong_value_set_later_is_refused_with_the_reason(
    graph: Any, name: str, value: Any, reason: str
) -> None:
    node = graph.node()
    result = graph.set(**{name: value})[0]
    assert (result.successful, result.reason) == (False, reason)
    assert node.values == NodeParameters()


def test_a_value_at_start_for_no_parameter_is_named(graph: Any) -> None:
    # lazy was a parameter once
    overrides = {'qos_overrides./image.subscription.depth': 2}
    node = graph.node(modle='nano', lazy=False, **overrides)
    assert unknown_values(node) == [
        "'modle' is no parameter of this node, did you mean model?",
        "'lazy' is no parameter of this node",
    ]


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('/**: {ros__parameters: {model: nano}}', ''),
        ('lemore_segmentation: {ros__parameters: {model: nano}}', ''),
        ('/*/other: {ros__parameters: {}}\n/**/lemore_segmentation: {ros__parameters: {}}', ''),
        ('segmentation_node: {ros__parameters: {model: nano}}', "'/segmentation_node'"),
        ('robot: {lemore_segmentation: {ros__parameters: {}}}', "'/robot/lemore_segmentation'"),
        ('a: {ros__parameters: {}}\nb: {ros__parameters: {}}', "'/a', '/b'"),
    ],
)
def test_a_parameter_file_of_other_nodes_is_named(
    graph: Any, tmp_path: Path, text: str, found: str
) -> None:
    path = tmp_path / 'other.yaml'
    path.write_text(text)
    arguments = ['node', '--ros-args', '--params-file', str(path), '-p', 'model:=nano']
    error = f"'{path}' is not for this node, {NAME}: it is for {found}"
    assert files_of_others(graph.node(), arguments) == ([error] if found else [])
