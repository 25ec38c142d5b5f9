"""Chooses the size at which the network sees an image."""

from __future__ import annotations

MULTIPLE = 64
LONGEST_SIDE = 2048
SAME_ASPECT = 0.01


def network_size(trained: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) for images of size ``image``, given the size trained at.

    The image keeps its aspect: padding or squashing would show the network what it was never
    trained on. An image of the trained aspect is seen at the trained size, any other at the
    multiples of 64 nearest to its own aspect and to the trained number of pixels.
    """
    height, width = trained
    aspect = image[1] / image[0]
    if abs(aspect / (width / height) - 1) <= SAME_ASPECT:
        return trained
    ideal = (height * width / aspect) ** 0.5
    return _nearest(ideal), _nearest(ideal * aspect)


def _nearest(size: float) -> int:
    return min(max(round(size / MULTIPLE), 1) * MULTIPLE, LONGEST_SIDE)
