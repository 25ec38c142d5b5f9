"""Plays one image topic of a bag in real time, stamped with the time of publication.

Reports JSON lines: ``sent`` as it goes, ``finished`` at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image

from lemore_ros.messages.common import write_stamp
from lemore_ros.tools.child import say

MATCH_S = 30.0


def main() -> int:
    """Play and return the exit status: 1 where nobody subscribes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bag', type=Path)
    parser.add_argument('--topic', required=True)
    arguments = parser.parse_args()
    rclpy.init(args=[])
    try:
        return _play(arguments.bag, arguments.topic)
    finally:
        rclpy.try_shutdown()


def _play(bag: Path, topic: str) -> int:
    node = rclpy.create_node('lemore_player')
    # best effort, as cameras are: a slow subscriber loses frames instead of holding them up
    qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, topic, qos)
    deadline = time.monotonic() + MATCH_S
    while not publisher.get_subscription_count():
        if time.monotonic() > deadline:
            print(f'nobody subscribes to {topic} within {MATCH_S} s', file=sys.stderr)
            return 1
        time.sleep(0.05)
    sent = 0
    with Reader(bag) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        started = time.monotonic() - reader.start_time / 1e9
        for _, bag_time, raw in reader.messages(connections=connections):
            data = bytearray(raw)
            time.sleep(max(0.0, started + bag_time / 1e9 - time.monotonic()))
            write_stamp(data, time.time_ns())
            publisher.publish(bytes(data))
            sent += 1
            say(sent=sent)
    # a best-effort writer that is destroyed takes its last frame along
    time.sleep(0.5)
    say(finished=True)
    node.destroy_node()
    return 0


if __name__ == '__main__':
    sys.exit(main())
