"""Runs the network on an image and keeps its views, its attention maps and its gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lemore_core import checkpoint
from lemore_core.data.pixels import try_rgb
from lemore_core.export.graph import ServingGraph
from lemore_core.image import check_pixels, to_network
from lemore_core.inference import input_size as sizing
from lemore_core.inference.cpu.decode import decode
from lemore_core.model.cartesian_encoder import AxisMixing, CartesianEncoder
from lemore_core.model.gated_fusion import GatedFusion
from lemore_core.model.lemore import LeMoRe, token_size
from lemore_core.model.nested_attention import BottleneckBlock, NestedAttention
from lemore_core.model.variants import LeMoReConfig
from lemore_core.research.inspection.findings import (
    ExplicitViews,
    Floats,
    ImplicitMaps,
    Inspection,
    InspectionError,
)
from lemore_core.taxonomy import Taxonomy

VIEWS = ('transverse', 'frontal', 'lateral')


class _Probe(NamedTuple):
    """A module to listen to, and what to keep of its (input, output): (N, C, H, W) each."""

    module: nn.Module
    keep: Callable[[Tensor, Tensor], Tensor]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as RGB (H, W, 3) uint8.

    Raises:
        InspectionError: there is no such file, or it is no image.

    """
    if not path.is_file():
        msg = f'there is no image {path}'
        raise InspectionError(msg)
    image = try_rgb(path)
    if image is None:
        msg = f'{path} is no readable image'
        raise InspectionError(msg)
    return image


def inspect_image(
    path: Path,
    image: NDArray[np.uint8],
    *,
    point: tuple[int, int] | None = None,
    encoder: str | None = None,
    block: int | None = None,
    taxonomy: Taxonomy | None = None,
    network_size: tuple[int, int] | None = None,
) -> Inspection:
    """Run the checkpoint at ``path`` on ``image`` (H, W, 3) uint8 RGB and keep what it computes.

    ``point`` is (x, y) in pixels (the image's centre), ``encoder`` is STAGE.INDEX (all of them),
    ``block`` counts from 1 (all of them). ``taxonomy`` replaces the checkpoint's own,
    ``network_size`` (height, width) the size that follows from the image's aspect.

    Raises:
        InspectionError: the file is an ONNX file, the point lies outside the image, or the
            network has no such encoder or block.
        CheckpointError: the checkpoint is not usable, or ``taxonomy`` has another number of classes.
        PixelError: ``image`` is no RGB image.
        ConfigError: ``network_size`` is out of bounds.

    """
    if path.suffix == '.onnx':
        msg = f'{path} holds a graph without named parts: inspect the .safetensors checkpoint of it'
        raise InspectionError(msg)
    check_pixels(image, 'rgb8')
    height, width = image.shape[:2]
    point = _checked_point(point, height, width)
    card, model = checkpoint.load(path)
    if taxonomy is not None:
        card = dataclasses.replace(card, taxonomy=taxonomy)
    trained = (card.config.height, card.config.width)
    size = network_size or sizing.network_size(trained, (height, width))
    model = model.resized(*size)
    encoders = _chosen_encoders(model, encoder)
    blocks = _chosen_blocks(model, block)
    probes = _probes(encoders, blocks, model.fusions)
    logits, kept = _run(ServingGraph(card, model), to_network(image, 'rgb8', *size), probes)
    grid = token_size(*size)
    return Inspection(
        model=card.name,
        taxonomy=card.taxonomy,
        image=image,
        labels=decode(logits, height, width)[0],
        network_size=size,
        point=point,
        token=_token(point, grid, height, width),
        encoders=tuple(_explicit(name, module, kept) for name, module in encoders.items()),
        blocks=tuple(ImplicitMaps(n, grid, kept[_block_key(n)]) for n in blocks),
        gates=tuple(kept[_gate_key(i)] for i in range(len(model.fusions))),
        missing=_missing(model.config),
    )


def _checked_point(point: tuple[int, int] | None, height: int, width: int) -> tuple[int, int]:
    if point is None:
        return width // 2, height // 2
    if not (0 <= point[0] < width and 0 <= point[1] < height):
        msg = (
            f'the point {point[0]} {point[1]} lies outside the image: '
            f'x is 0 to {width - 1}, y is 0 to {height - 1}'
        )
        raise InspectionError(msg)
    return point


def _token(
    point: tuple[int, int], grid: tuple[int, int], height: int, width: int
) -> tuple[int, int]:
    # the pooling divides the features, and with them the image, into equal cells
    return point[1] * grid[0] // height, point[0] * grid[1] // width


def _chosen_encoders(model: LeMoRe, wanted: str | None) -> dict[str, CartesianEncoder]:
    found = {
        f'{number}.{index}': encoder
        for number, stage in enumerate(model.stages, 1)
        for index, encoder in enumerate(
            (layer for layer in stage.children() if isinstance(layer, CartesianEncoder)), 1
        )
    }
    if wanted is None:
        return found
    if wanted not in found:
        msg = f'no encoder is called {wanted!r}, there are: {", ".join(found) or "none"}'
        raise InspectionError(msg)
    return {wanted: found[wanted]}


def _chosen_blocks(model: LeMoRe, wanted: int | None) -> dict[int, NestedAttention]:
    found = {
        number: block.attention
        for number, block in enumerate(model.bottleneck, 1)
        if isinstance(block, BottleneckBlock) and block.attention is not None
    }
    if wanted is None:
        return found
    if wanted not in found:
        there = ', '.join(str(number) for number in found) or 'none'
        msg = f'there is no block {wanted} with nested attention, there are: {there}'
        raise InspectionError(msg)
    return {wanted: found[wanted]}


def _probes(
    encoders: Mapping[str, CartesianEncoder],
    blocks: Mapping[int, NestedAttention],
    fusions: nn.ModuleList,
) -> dict[str, _Probe]:
    probes = {}
    for name, encoder in encoders.items():
        for view in VIEWS:
            module = getattr(encoder, view)
            if module is not None:
                probes[_view_key(name, view)] = _Probe(module, _energy)
    for number, attention in blocks.items():
        probes[_block_key(number)] = _Probe(attention, _head_mean(attention))
    for index, fusion in enumerate(fusions):
        if isinstance(fusion, GatedFusion):
            probes[_gate_key(index)] = _Probe(fusion.gate, _openness)
    return probes


def _view_key(encoder: str, view: str) -> str:
    return f'encoder {encoder} {view}'


def _block_key(number: int) -> str:
    return f'block {number}'


def _gate_key(index: int) -> str:
    return f'gate {index}'


def _energy(_: Tensor, response: Tensor) -> Tensor:
    return response[0].abs().mean(dim=0)


def _openness(_: Tensor, response: Tensor) -> Tensor:
    return torch.sigmoid(response[0]).mean(dim=0)


def _head_mean(attention: NestedAttention) -> Callable[[Tensor, Tensor], Tensor]:
    def keep(tokens: Tensor, _: Tensor) -> Tensor:
        # the maps are no module's output: the tokens that went in give them a second time
        return attention.attention_maps(tokens)[0].mean(dim=2)

    return keep


@torch.inference_mode()
def _run(
    graph: ServingGraph, pixels: NDArray[np.uint8], probes: Mapping[str, _Probe]
) -> tuple[Floats, dict[str, Floats]]:
    """Return the logits (h, w, classes) of ``pixels`` and what each probe kept."""
    kept: dict[str, Floats] = {}

    def listener(key: str, probe: _Probe) -> Callable[..., None]:
        def listen(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept[key] = probe.keep(inputs[0], output).float().numpy()

        return listen

    handles = [
        probe.module.register_forward_hook(listener(key, probe)) for key, probe in probes.items()
    ]
    try:
        logits = graph(torch.from_numpy(pixels[None]))[0]
    finally:
        for handle in handles:
            handle.remove()
    return np.ascontiguousarray(logits.numpy()), kept


def _explicit(name: str, encoder: CartesianEncoder, kept: Mapping[str, Floats]) -> ExplicitViews:
    energies = {
        view: kept[_view_key(name, view)] for view in VIEWS if _view_key(name, view) in kept
    }
    mixing = {
        view: module.weight.detach().numpy()
        for view in VIEWS
        if isinstance(module := getattr(encoder, view), AxisMixing)
    }
    return ExplicitViews(name, energies, mixing)


def _missing(config: LeMoReConfig) -> tuple[str, ...]:
    parts = {
        'transverse view': config.transverse,
        'frontal view': config.frontal,
        'lateral view': config.lateral,
        'channel attention': config.channel_attention,
        'nested attention': config.nested_attention,
        'Cartesian encoders': any(stage.encoders for stage in config.stages),
    }
    return tuple(name for name, is_there in parts.items() if not is_there)
