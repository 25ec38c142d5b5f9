"""The trial of a new engine on real images, in the process that built it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from lemore_core.export.export import street_images
from lemore_core.inference.backend import BackendError
from lemore_core.inference.gpu.errors import guarded
from lemore_core.inference.tensorrt.engine import Engine

AGREEMENT = 0.99


class EngineRejectedError(BackendError):
    """An engine whose labels differ from its network's."""


def try_engine(
    api: Any, engine: bytes, onnx: bytes, shape: tuple[int, int, int], device: str
) -> None:
    """Compare an engine's classes of a real street, whole and by halves, with its network's.

    ``shape`` is (batch, height, width). The network is the ONNX file in ONNX Runtime on the CPU.
    """
    batch, height, width = shape
    images = street_images(height, width)
    found = guarded(
        lambda: _run(Engine(api, engine, batch, device), images, batch, device),
        torch.device(device),
        f'the first images of an engine of batch {batch}',
    )
    session = onnxruntime.InferenceSession(onnx, providers=['CPUExecutionProvider'])
    expected = np.concatenate([session.run(None, {'pixels': x[None]})[0] for x in images])
    # NaN wins nowhere: argmax would take it for a class
    same = np.isfinite(found).all(-1) & (found.argmax(-1) == expected.argmax(-1))
    if same.mean() < AGREEMENT:
        msg = (
            f'only {np.floor(1e4 * same.mean()) / 100}% of its labels of a street are those of '
            f'ONNX Runtime, {AGREEMENT:.0%} must be'
        )
        raise EngineRejectedError(msg)


def _run(
    network: Engine, images: NDArray[np.uint8], batch: int, device: str
) -> NDArray[np.float32]:
    results = []
    for image in images:
        pixels = torch.from_numpy(np.repeat(image[None], batch, axis=0)).to(device)
        # the last of a batch, as one that ignores it would have given the first
        results.append(network(pixels)[-1].cpu().numpy().copy())
    return np.stack(results)
