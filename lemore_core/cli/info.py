"""``lemore info``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lemore_core.cli.arguments import declare, print_json, requested_size
from lemore_core.model.imported import ImportedConfig
from lemore_core.model.variants import VARIANTS, LeMoReConfig, variant
from lemore_core.taxonomy import load_taxonomy

PARTS = ('transverse', 'frontal', 'lateral', 'channel-attention', 'nested-attention')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    declare(parser, 'model', 'dataset', 'height', 'width', 'json')
    text = 'leave a part out (repeat)'
    parser.add_argument('--without', action='append', default=[], choices=PARTS, help=text)
    text = 'pool the 1/4 feature before its fusion'
    parser.add_argument('--fusion-at-head', action='store_true', help=text)


def run(arguments: argparse.Namespace) -> None:
    """Print the card of a checkpoint, or the cost of a network of other classes or parts."""
    from lemore_core.segmenter import resolve_checkpoint, shipped

    size = requested_size(arguments)
    asked = arguments.dataset or arguments.without or arguments.fusion_at_head
    if arguments.model in VARIANTS and (asked or not shipped(arguments.model).is_file()):
        values = _network(arguments, *(size or (512, 512)))
    else:
        values = _checkpoint(resolve_checkpoint(arguments.model), size)
    if arguments.json:
        print_json(values)
        return
    for name, text in _card(values).items():
        print(f'{name:<12} {text}')


def _card(values: dict[str, Any]) -> dict[str, str]:
    """Return the values to print as text, by their names."""
    size = f'{values["width"]}x{values["height"]}'
    metrics, training = values.get('metrics', {}), values.get('training', {})
    names = f': {", ".join(values["names"])}' if 'names' in values else ''
    classes = f'{values["classes"]} of {values["dataset"]}{names}'
    card = {'model': values['model'], 'classes': classes, 'input': size}
    if 'parameters' in values:
        millions, gflops = values['parameters'] / 1e6, values['gflops']
        card['cost'] = f'{millions:.3f} M parameters, {gflops:.3f} GFLOPs at {size}'
    if 'licence' in values:
        card['licence'] = values['licence']
    if 'mean_iou' in metrics:
        known = {name: iou for name, iou in metrics.get('iou', {}).items() if iou is not None}
        card['measured'] = f'on {metrics["split"]}: mIoU {100 * metrics["mean_iou"]:.1f} %'
        if len(known) < len(metrics.get('iou', {})):
            card['measured'] += f' of {len(known)} of {len(metrics["iou"])} classes'
        if known:
            card['IoU'] = ', '.join(f'{name} {100 * iou:.1f}' for name, iou in known.items())
    if recipe := training.get('recipe', {}):
        fields = ', '.join(f'{k} {recipe[k]}' for k in ('dataset', 'batch', 'seed') if k in recipe)
        steps = training.get('steps_in_all', training.get('step', '?'))
        card['trained'] = f'{steps} steps: {fields}'
    if scenes := values.get('scenes'):
        held_out = '; '.join(scenes['held_out'])
        card['familiarity'] = f'{scenes["images"]} images, held out: {held_out}'
    for kind, name in (('start', 'started'), ('teacher', 'teacher'), ('imported', 'imported')):
        if kind in training:
            found = training[kind]
            card[name] = f'from {found["name"] if isinstance(found, dict) else found}'
    return card


def _network(arguments: argparse.Namespace, height: int, width: int) -> dict[str, Any]:
    taxonomy = load_taxonomy(arguments.dataset or 'ade20k')
    switches = {part.replace('-', '_'): False for part in arguments.without}
    switches['fusion_at_head'] = arguments.fusion_at_head
    classes = len(taxonomy.classes)
    config = variant(arguments.model, classes=classes, height=height, width=width, **switches)
    return {'model': arguments.model, 'dataset': taxonomy.name, **_cost(config, {})}


def _checkpoint(path: Path, size: tuple[int, int] | None) -> dict[str, Any]:
    from lemore_core.export.onnx_file import read_model_card

    card = read_model_card(path)
    config = card.config if size is None else card.config.for_size(*size)
    return {
        'model': card.name,
        'dataset': card.taxonomy.name,
        'names': list(card.taxonomy.classes),
        **_cost(config, card.training.get('cost', {})),
        'licence': card.licence,
        'metrics': dict(card.metrics),
        'training': dict(card.training),
        'scenes': card.scenes
        and {
            'images': card.scenes.images,
            'held_out': card.scenes.held_out,
            'temperature': card.scenes.temperature,
        },
    }


def _cost(config: LeMoReConfig | ImportedConfig, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return classes, size and cost, as a training ``recorded`` it for this size or measured."""
    size = {'height': config.height, 'width': config.width}
    values = {'classes': config.classes, **size}
    if not isinstance(config, LeMoReConfig):
        return values
    if not size.items() <= recorded.items():
        from lemore_core.model.cost import measure_cost

        recorded = asdict(measure_cost(config))
    gflops, gmacs = (round(recorded[key] / 1e9, 4) for key in ('flops', 'macs'))
    return values | {'parameters': recorded['parameters'], 'gflops': gflops, 'gmacs': gmacs}
