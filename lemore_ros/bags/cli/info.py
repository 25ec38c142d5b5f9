"""``lemore bag info``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_core.cli.arguments import add_json_argument, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag')
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the summary of the bag."""
    from tqdm import tqdm

    from lemore_ros.bags.info import in_words, inspect
    from lemore_ros.bags.reader import open_bag

    with open_bag(arguments.bag) as bag:
        images = sum(topic.count for topic in bag.image_topics)
        # reading all images of a long bag takes minutes
        with tqdm(desc='reading', total=images, unit='image', disable=None, leave=False) as bar:
            info = inspect(bag, bar.update)
    if arguments.json:
        print_json(info)
    else:
        print(in_words(info))
