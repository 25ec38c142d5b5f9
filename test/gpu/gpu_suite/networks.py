"""Networks for the suite, shipped and random, without the packages that usually read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lemore_core.checkpoint import ModelCard
from lemore_core.export.fold import ServingGraph, fold
from lemore_core.images.image import to_network
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import LeMoReConfig, variant
from lemore_core.taxonomy import Taxonomy

ROOT = Path(__file__).parents[3]
WEIGHTS = ROOT / 'lemore_core' / 'weights'
CLIP = ROOT / 'config' / 'demo' / 'solid_white_right.mp4'
TYPES = {'F32': np.float32, 'F16': np.float16, 'I64': np.int64}


class PlainGraph(nn.Module):
    """The network as it was trained, from pixels (N, height, width, 3) uint8 to logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, card: ModelCard, network: LeMoRe) -> None:
        super().__init__()
        self.network = network
        self.register_buffer('mean', torch.tensor(card.mean))
        self.register_buffer('std', torch.tensor(card.std))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, height / 8, width / 8, classes), sizes rounded up."""
        x = ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        logits: Tensor = self.network(x).permute(0, 2, 3, 1)
        return logits


Graph = Callable[[ModelCard, LeMoRe], nn.Module]


def folded(card: ModelCard, model: LeMoRe) -> ServingGraph:
    """Return a network as it is served."""
    return ServingGraph(card, fold(model, card.std))


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file of a few known types."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    header: dict[str, Any] = json.loads(content[8:start])
    metadata = header.pop('__metadata__', {})
    tensors = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry['data_offsets'])
        values = np.frombuffer(content[first:last], TYPES[entry['dtype']])
        tensors[name] = torch.from_numpy(values.reshape(entry['shape']).copy())
    return metadata, tensors


def shipped(size: str, height: int, width: int, make: Graph = folded) -> Any:
    """Return the CamVid network of a size ('nano', 'tiny', 'small') for one input size."""
    path = WEIGHTS / f'lemore_{size}_camvid.safetensors'
    metadata, tensors = read_safetensors(path)
    card = ModelCard.from_metadata(metadata, path.name)
    model = LeMoRe(card.config)
    model.load_state_dict(tensors)  # in single precision, whatever the file has
    return make(card, model.eval().resized(height, width)).eval()


def untrained(size: str, height: int, width: int, classes: int, make: Graph = folded) -> Any:
    """Return a network of random weights: as fast as a trained one."""
    torch.manual_seed(0)
    config: LeMoReConfig = variant(size, classes=classes, height=height, width=width)
    names = tuple(f'class {i}' for i in range(classes))
    taxonomy = Taxonomy('random', names, ((0, 0, 0),) * classes)
    card = ModelCard(name=size, config=config, taxonomy=taxonomy, licence='none')
    return make(card, LeMoRe(config).eval()).eval().requires_grad_(requires_grad=False)


def clip_frames(count: int) -> list[NDArray[np.uint8]]:
    """Return frames of the demo clip over its whole length, BGR (540, 960, 3) uint8."""
    capture = cv2.VideoCapture(str(CLIP))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {total * i // count for i in range(count)}
    frames = []
    for index in range(total):
        found, frame = capture.read()
        if found and index in wanted:
            frames.append(frame)
    if len(frames) != count:
        msg = f'{CLIP}: {len(frames)} of {count} frames can be read'
        raise RuntimeError(msg)
    return frames


@torch.inference_mode()
def reference_labels(
    graph: PlainGraph, frame: NDArray[np.uint8], encoding: str
) -> NDArray[np.uint8]:
    """Label a frame as the definition says: float32 on the CPU, upsampled, then the argmax."""
    config = graph.network.config
    pixels = to_network(frame, encoding, config.height, config.width)
    logits = graph(torch.from_numpy(pixels)[None]).permute(0, 3, 1, 2)
    full = functional.interpolate(logits, frame.shape[:2], mode='bilinear', align_corners=False)
    return full.argmax(1)[0].numpy().astype(np.uint8)
