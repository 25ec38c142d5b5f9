"""Inspect, segment and evaluate recorded drives (rosbags)."""

from __future__ import annotations

import argparse
import importlib
from importlib.util import find_spec

from lemore_ros.bags.errors import BagError

# modules of this package with add_arguments(parser) and run(arguments), which has heavy imports
COMMANDS = {
    'info': 'show the topics of a bag, its cameras and their rates',
    'segment': 'segment the images of bags, into bags',
    'evaluate': 'measure labels over a drive, against ground truth where there is some',
    'compare': 'find where two models, or two runs, differ',
    'pick': 'pick the frames that are most worth labelling, as a data set',
    'truth': 'write labelled frames of a bag as a bag of ground truth',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    subparsers = parser.add_subparsers(dest='bag_command', required=True, metavar='command')
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f'lemore_ros.bags.cli.{name}')
        module.add_arguments(subparsers.add_parser(name, help=summary, description=summary))


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen subcommand."""
    if find_spec('rosbags') is None:
        msg = "bags are read with the package rosbags: pip install 'lemore_ros[bag]'"
        raise BagError(msg)
    importlib.import_module(f'lemore_ros.bags.cli.{arguments.bag_command}').run(arguments)
