"""What one run of the network showed: its views, its attention maps and its gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemore_core.errors import LemoreError
from lemore_core.taxonomy import Taxonomy

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8] | NDArray[np.uint16]


class InspectionError(LemoreError):
    """An image, point or part of the network that is not there, or a file without one."""


@dataclass(frozen=True)
class ExplicitViews:
    """The views of one Cartesian encoder, for features of h x w.

    ``name`` is STAGE.INDEX, both from 1. ``energies`` maps a view to (h, w) float32: its mean
    absolute response over the channels. ``mixing`` maps frontal to its matrix (w, w) float32 and
    lateral to (h, h); a row holds the weights of one output. Both hold only the views that the
    network has.
    """

    name: str
    energies: Mapping[str, Floats]
    mixing: Mapping[str, Floats]

    @property
    def strengths(self) -> dict[str, float]:
        """Each view's share of the summed mean energies, 0..1; all 0 where nothing responds."""
        means = {view: float(energy.mean()) for view, energy in self.energies.items()}
        total = sum(means.values())
        return {view: mean / total if total else 0.0 for view, mean in means.items()}


@dataclass(frozen=True)
class ImplicitMaps:
    """The nested attention of bottleneck block ``block`` (from 1), averaged over its heads.

    ``grid`` is (rows, columns) of the tokens. ``maps`` is (3 queries, 3 keys, tokens, tokens)
    float32: how much each token (third axis) attends to each (last axis, which sums to one).
    """

    block: int
    grid: tuple[int, int]
    maps: Floats

    @property
    def psi(self) -> Floats:
        """The mean of the nine maps, (tokens, tokens) float32: what the values are weighed by."""
        return np.asarray(self.maps.mean(axis=(0, 1)), np.float32)

    def seen_from(self, token: tuple[int, int]) -> Floats:
        """Return where ``token`` (row, column) attends to, (3, 3, rows, columns) float32."""
        row, column = token
        return self.maps[:, :, row * self.grid[1] + column].reshape(3, 3, *self.grid)

    def received(self) -> Floats:
        """Return the attention that every token gets, (3, 3, rows, columns) float32.

        It is the mean over the tokens that attend, so each of the nine maps sums to one.
        """
        return np.asarray(self.maps.mean(axis=2), np.float32).reshape(3, 3, *self.grid)


@dataclass(frozen=True)
class Inspection:
    """What one run of the network on one image showed.

    ``image`` (H, W, 3) uint8 RGB and its ``labels`` (H, W); ``network_size`` (height, width) at
    which the network saw it. ``point`` (x, y) in pixels lies in ``token`` (row, column). ``gates``
    holds for each stage (rows, columns) float32: the gate's mean over the channels, 0..1, one value
    a token. ``missing`` names the parts that this network was built without.
    """

    model: str
    taxonomy: Taxonomy
    image: NDArray[np.uint8]
    labels: Labels
    network_size: tuple[int, int]
    point: tuple[int, int]
    token: tuple[int, int]
    encoders: tuple[ExplicitViews, ...]
    blocks: tuple[ImplicitMaps, ...]
    gates: tuple[Floats, ...]
    missing: tuple[str, ...]
