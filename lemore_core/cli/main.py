"""Entry point of ``lemore``: finds the subcommand, turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from keyword import iskeyword
from typing import Protocol, cast

import lemore_core
from lemore_core.errors import LemoreError

COMMANDS = {
    'info': 'parameters and operations of a network, or what a checkpoint says of itself',
    'train': 'train a network',
    'cross-validate': 'train without each drive in turn, and measure on it',
    'evaluate': 'measure a model against labelled images',
    'predict': 'segment images, folders, videos or cameras',
    'data': 'check a data set before training',
    'taxonomy': 'show a class table, or write it for other programs',
    'import': 'make any segmentation network in ONNX one that is served like the shipped ones',
    'export': 'write a model as an ONNX file for one input size',
    'engine': 'build, list or delete TensorRT engines',
    'benchmark': 'time the steps from bytes to labels on this machine',
    'research': 'pre-train the encoder, time the network and its parts',
}
RENAMED = {'pretrain': 'research pretrain'}
# commands of other packages: each is a module with a docstring, add_arguments and run
GROUP = 'lemore.commands'


class Command(Protocol):
    """What the file of a subcommand offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> None:
        """Do it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lemore`` and return its exit status: 0, 1 for a failure, 2 for wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser('lemore', description=lemore_core.__doc__)
    parser.add_argument('--version', action='version', version=lemore_core.__version__)
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='command')
    modules = {name: (_module(name), text) for name, text in COMMANDS.items()}
    if not argv or argv[0] not in COMMANDS:
        modules |= {entry.name: (entry.value, '') for entry in entry_points(group=GROUP)}
    if argv and argv[0] in RENAMED:
        print(f'lemore {argv[0]} is called lemore {RENAMED[argv[0]]} now', file=sys.stderr)
        return 2
    if argv and argv[0] not in modules and not argv[0].startswith('-'):
        print(
            f'lemore: there is no command {argv[0]}, there are: {", ".join(modules)}; those of '
            'other packages are found once they are installed (pip install -e .)',
            file=sys.stderr,
        )
        return 2
    commands = {}
    for name, (module, text) in modules.items():
        summary = text or _first_line(module)
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        # of our own only the chosen one is imported: help answers at once
        if argv and argv[0] == name:
            commands[name] = cast('Command', importlib.import_module(module))
            commands[name].add_arguments(subparser)
    arguments = parser.parse_args(argv)
    try:
        commands[arguments.command].run(arguments)
    except LemoreError as error:
        print(f'lemore {arguments.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _module(name: str) -> str:
    # a module cannot be called import, nor cross-validate
    module = f'{name}_' if iskeyword(name) else name.replace('-', '_')
    return f'lemore_core.cli.{module}'


def _first_line(module: str) -> str:
    return (importlib.import_module(module).__doc__ or '').partition('\n')[0]


if __name__ == '__main__':
    sys.exit(main())
