"""``lemore info``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lemore_core.cli.arguments import (
    add_json_argument,
    add_model_arguments,
    add_size_arguments,
    print_json,
    requested_size,
)
from lemore_core.model.imported import ImportedConfig
from lemore_core.model.variants import VARIANTS, LeMoReConfig, variant
from lemore_core.taxonomy import load_taxonomy

PARTS = ('transverse', 'frontal', 'lateral', 'channel-attention', 'nested-attention')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_size_arguments(parser)
    parser.add_argument(
        '--without', action='append', default=[], choices=PARTS, help='leave a part out (repeat)'
    )
    parser.add_argument(
        '--fusion-at-head', action='store_true', help='pool the 1/4 feature before its fusion'
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print what the network costs, or what a checkpoint says of itself."""
    describe_model = _network if arguments.model in VARIANTS else _checkpoint
    values = describe_model(arguments)
    if arguments.json:
        print_json(values)
        return
    for name, value in values.items():
        print(f'{name:<12} {value}')


def _network(arguments: argparse.Namespace) -> dict[str, Any]:
    taxonomy = load_taxonomy(arguments.dataset or 'ade20k')
    switches = {part.replace('-', '_'): False for part in arguments.without}
    height, width = requested_size(arguments) or (512, 512)
    config = variant(
        arguments.model,
        classes=len(taxonomy.classes),
        height=height,
        width=width,
        fusion_at_head=arguments.fusion_at_head,
        **switches,
    )
    return {'model': arguments.model, 'dataset': taxonomy.name, **_cost(config)}


def _checkpoint(arguments: argparse.Namespace) -> dict[str, Any]:
    from lemore_core.export.model_card import read_model_card

    card = read_model_card(Path(arguments.model))
    config = card.config.for_size(
        *(requested_size(arguments) or (card.config.height, card.config.width))
    )
    return {
        'model': card.name,
        'dataset': card.taxonomy.name,
        **_cost(config),
        'licence': card.licence,
        'metrics': dict(card.metrics),
        'training': dict(card.training),
    }


def _cost(config: LeMoReConfig | ImportedConfig) -> dict[str, Any]:
    from lemore_core.model.cost import measure_cost

    sizes = {'classes': config.classes, 'height': config.height, 'width': config.width}
    if isinstance(config, ImportedConfig):
        return sizes
    cost = measure_cost(config)
    return {
        **sizes,
        'parameters': cost.parameters,
        'gflops': round(cost.flops / 1e9, 4),
        'gmacs': round(cost.macs / 1e9, 4),
    }
