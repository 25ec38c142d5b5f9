"""``lemore train``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from lemore_core.training.config import TrainingConfig

HELP = {
    'data': 'folder with train/, trainannot/, val/ and valannot/',
    'output': 'folder for best.safetensors and last.safetensors',
    'bfloat16': 'compute the network in bfloat16',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one argument for each field of the configuration."""
    for field in dataclasses.fields(TrainingConfig):
        name = f'--{field.name.replace("_", "-")}'
        text = HELP.get(field.name)
        if field.default is dataclasses.MISSING:
            parser.add_argument(name, type=Path, required=True, help=text)
        elif field.default is False:
            parser.add_argument(name, action='store_true', help=text)
        else:
            parser.add_argument(
                name, type=type(field.default), default=field.default, help=f'{field.default}'
            )


def run(arguments: argparse.Namespace) -> None:
    """Train, a line an epoch."""
    from lemore_core.training.loop import train

    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    config = TrainingConfig(**{k: v for k, v in vars(arguments).items() if k in fields})
    best = train(config, lambda line: print(line, flush=True))
    print(f'best checkpoint: {best}')
