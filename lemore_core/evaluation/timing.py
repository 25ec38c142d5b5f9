"""Times steps against each other in one run, since machines are shared and noisy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray


def median_ms(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run every step ``rounds`` times, in turns, and return each one's median milliseconds.

    Turns let a busy moment of the machine fall on all steps alike. The first round is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if index:
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times.items()}


def torch_decode(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.int64]:
    """Decode ``logits`` (h, w, classes) the plain way: upsample all of them, then argmax.

    Returns (height, width). It is what the fused decoding is measured against.
    """
    import torch
    from torch.nn import functional

    planes = torch.from_numpy(logits).permute(2, 0, 1)[None].contiguous()
    full = functional.interpolate(
        planes, size=(height, width), mode='bilinear', align_corners=False
    )
    return full.argmax(1)[0].numpy()
