"""The SROS 2 policy grants what the node has in the graph, and nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from sensor_msgs.msg import PointCloud2

from lemore_ros.messages.common import message_class
from lemore_ros.outputs import TRANSPORTS

POLICY = Path(__file__).parents[3] / 'config' / 'security' / 'policy.xml'
NAME = 'lemore_segmentation'


def granted(path: str) -> set[str]:
    """Return the full names that the policy's profile has under a path."""
    (profile,) = ET.parse(POLICY).getroot().iter('profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', NAME)
    texts = [str(element.text).replace('~', f'/{NAME}') for element in profile.findall(path)]
    assert len(set(texts)) == len(texts)
    return {text if text.startswith('/') else f'/{text}' for text in texts}


def test_the_policy_is_the_nodes_own_graph(graph: Any) -> None:
    published, subscribed, served = set(), set(), set()
    for transport in TRANSPORTS.values():
        if message_class(transport.type) is None:
            subscribed.add(f'/image{transport.suffix}')
            continue
        node = graph.node(**graph.untrained, image_transport=transport.name, use_sim_time=True)
        assert node.start()
        points = graph.peer.create_subscription(PointCloud2, f'/{NAME}/points', print, 5)
        graph.wait_for(lambda n=node: n.count_subscribers('/depth'), 'all subscriptions')
        own = node.get_name(), node.get_namespace()
        published |= {name for name, _ in node.get_publisher_names_and_types_by_node(*own)}
        subscribed |= {name for name, _ in node.get_subscriber_names_and_types_by_node(*own)}
        served |= {name for name, _ in node.get_service_names_and_types_by_node(*own)}
        graph.nodes.pop().close()
        graph.peer.destroy_subscription(points)

    if find_spec('vision_msgs') is None:
        published.add(f'/{NAME}/label_info')
    # of a model that knows its training images
    published |= {f'/{NAME}/{name}' for name in ('familiarity', 'sureness')}
    assert published == granted('topics[@publish="ALLOW"]/topic')
    assert subscribed == granted('topics[@subscribe="ALLOW"]/topic')
    # Humble has no service for type descriptions
    assert served | {f'/{NAME}/get_type_description'} == granted('services[@reply="ALLOW"]/service')
