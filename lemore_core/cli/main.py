"""Run the subcommands of ``lemore``, and report errors in one line."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from io import TextIOWrapper
from keyword import iskeyword

import lemore_core
from lemore_core.common.errors import TORCH, GpuContextLostError, LemoreError, in_one_line

COMMANDS = {
    'info': 'parameters and operations of a network, or what a checkpoint says of itself',
    'train': 'train a network',
    'distill': 'train a small network on your own images, labelled by a large one',
    'cross-validate': 'train without each drive in turn, and measure on it',
    'evaluate': 'measure a model against labelled images',
    'predict': 'segment images, folders, videos, bags or cameras',
    'view': 'show images, labels and figures over time, in Rerun',
    'data': 'check a data set before training',
    'taxonomy': 'show a class table, or write it for other programs',
    'import': 'make any segmentation network in ONNX one that is served like the shipped ones',
    'export': 'write a model as an ONNX file for one input size',
    'engine': 'build the TensorRT engine of a network',
    'benchmark': 'time the steps from bytes to labels on this machine',
}
# commands of other packages: each is a module with a docstring, add_arguments and run
GROUP = 'lemore.commands'
DEBUG = 'LEMORE_DEBUG'
ADVICE = {
    errno.ENOSPC: ': make room, or write elsewhere',
    errno.EDQUOT: ': make room, or write elsewhere',
    errno.EACCES: ': write elsewhere, or change the permissions',
    errno.EROFS: ': write elsewhere',
    errno.EEXIST: ': write elsewhere',
    errno.ENOTDIR: ', but a file: write elsewhere',
    errno.ENAMETOOLONG: ': choose a shorter one',
}
# imported name: what pip calls it, where that is another
PACKAGES = {
    'PIL': 'pillow',
    'cv2': 'opencv-python-headless',
    'google': 'onnx',
    'torch': TORCH,
    'yaml': 'PyYAML',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lemore`` and return its exit status, see ``docs/reliability.md``.

    0; 1 for a failure, 2 for wrong usage, 3 for an incomplete result, 4 where a condition of
    ``--fail-if`` holds, 70 for an error of our own, 130 when interrupted, 141 when
    the output pipe is closed.
    """
    for stream in (sys.stdout, sys.stderr):
        # file names need not be UTF-8
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:2] == ['bag', 'video']:
        argv = ['predict', *argv[2:]]  # its name in former versions
    name = next((text for text in argv if not text.startswith('-')), '')
    try:
        return _run(argv, name)
    except BrokenPipeError:
        # Python would report it again when it flushes
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f'lemore {name}: interrupted', file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        status, reason = _explained(error)
        print(f'lemore {name}: {reason}', file=sys.stderr)
        if isinstance(error, GpuContextLostError):
            # destructors of GPU memory would abort the process
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return status


def _run(argv: list[str], name: str) -> int:
    parser = argparse.ArgumentParser('lemore', description=lemore_core.__doc__)
    parser.add_argument('--version', action='version', version=lemore_core.__version__)
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='command')
    modules = {known: (_module(known), text) for known, text in COMMANDS.items()}
    if name not in COMMANDS:
        modules |= {entry.name: (entry.value, '') for entry in entry_points(group=GROUP)}
    if name and name not in modules:
        sys.stderr.write(
            f'lemore: there is no command {name!r}, there are: {", ".join(modules)}; those of '
            'other packages are found once they are installed (pip install -e .)\n'
        )
        return 2
    for known, (module, text) in modules.items():
        summary = text or (importlib.import_module(module).__doc__ or '').partition('\n')[0]
        subparser = subparsers.add_parser(known, help=summary, description=summary)
        # only the chosen one is imported, so that help answers at once
        if known == name:
            command = importlib.import_module(module)
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:  # with the usage of the command, which parse_args would not show
        subparsers.choices[name].error(f'unrecognized arguments: {" ".join(unknown)}')
    arguments.run(arguments)
    return 0


def _explained(error: Exception) -> tuple[int, str]:
    """Return the exit status for an error, and its message with the remedy."""
    if isinstance(error, LemoreError):
        return 1, in_one_line(error)
    if isinstance(error, ImportError) and error.name:
        package = error.name.partition('.')[0]
        return 1, f'this needs the package {package}: pip install {PACKAGES.get(package, package)}'
    if isinstance(error, OSError):
        return 1, f'{in_one_line(error)}{ADVICE.get(error.errno or 0, "")}'
    if isinstance(error, MemoryError):
        return 1, 'there is not enough memory: take smaller images, or a smaller network'
    return 70, f'{in_one_line(error)} (an error of lemore itself: {DEBUG}=1 shows where)'


def _module(name: str) -> str:
    # a module cannot be called import, nor cross-validate
    module = f'{name}_' if iskeyword(name) else name.replace('-', '_')
    return f'lemore_core.cli.{module}'


if __name__ == '__main__':
    sys.exit(main())
