"""``lemore bag measure``."""

from __future__ import annotations

import argparse
from pathlib import Path

from lemore_ros.bags.cli.labelling import add_labelling_arguments, labelling_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='a bag; --duration takes less of it')
    parser.add_argument('--turns', type=int, default=3, help='how often each way is tried, 3')
    add_labelling_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the rates."""
    from lemore_ros.bags.segmentation.measure import measure

    rates = measure(arguments.bag, labelling_options(arguments), turns=max(1, arguments.turns))
    print(f'frames                    {rates.frames}')
    print(f'one step after the other  {rates.plain_hz} Hz')
    print(f'all steps at once         {rates.pipelined_hz} Hz, {rates.gain:.2f} times as fast')
    print(f'the network alone         {rates.network_hz} Hz')
    print(
        f'bound of all steps        {rates.bound_hz:.1f} Hz: {rates.processor_ms} ms a frame on '
        f'{rates.processors} processors'
    )
    print(f'peak memory               {rates.peak_mb} MB')
