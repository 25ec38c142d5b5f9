"""The taps of a resize, on the device that does it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lemore_core.inference.gpu.resize_weights import Axis, Method, find_taps

# where red, green and blue stand in a pixel
ORDERS = {
    'rgb8': (0, 1, 2),
    'bgr8': (2, 1, 0),
    'rgba8': (0, 1, 2),
    'bgra8': (2, 1, 0),
    'mono8': (0, 0, 0),
}


@dataclass(frozen=True)
class DeviceAxis:
    """The taps of an axis on a device; see :class:`~lemore_core.inference.gpu.resize_weights.Axis`."""

    index: Tensor
    weight: Tensor

    @classmethod
    def of(cls, axis: Axis, device: torch.device) -> DeviceAxis:
        """Copy the taps to a device."""
        index, weight = (torch.from_numpy(array).to(device) for array in (axis.index, axis.weight))
        return cls(index, weight)


@dataclass(frozen=True)
class DeviceTaps:
    """What resizes and reorders an image; see :class:`~.resize_weights.Taps`.

    ``order`` are the places of red, green and blue in a pixel.
    """

    method: Method
    rows: DeviceAxis
    columns: DeviceAxis
    factor: float
    half_up: bool
    order: tuple[int, int, int]

    @classmethod
    def between(
        cls,
        source: tuple[int, int],
        encoding: str,
        target: tuple[int, int],
        device: torch.device,
    ) -> DeviceTaps:
        """Return the taps between two sizes (height, width) for an encoding."""
        taps = find_taps(source, target)
        return cls(
            taps.method,
            DeviceAxis.of(taps.rows, device),
            DeviceAxis.of(taps.columns, device),
            taps.factor,
            taps.half_up,
            ORDERS[encoding],
        )
