"""``lemore research``: what the authors of a network ask of it."""

from __future__ import annotations

import argparse

from lemore_core.cli.research import networks, pretrain, speed

COMMANDS = {
    'pretrain': (pretrain, 'pre-train the encoder as a classifier, to start trainings from'),
    'speed': (speed, 'time loading against the training step'),
    'decoding': (networks, 'time decoding to many classes, against torch and the network'),
    'folding': (networks, 'time what folding and INT8 make of the network'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    subparsers = parser.add_subparsers(dest='what', required=True, metavar='command')
    for name, (module, summary) in COMMANDS.items():
        module.add_arguments(subparsers.add_parser(name, help=summary, description=summary))


def run(arguments: argparse.Namespace) -> None:
    """Run the subcommand."""
    COMMANDS[arguments.what][0].run(arguments)
