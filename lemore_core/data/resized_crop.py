"""What a classifier sees of an image: a random window in training, the middle otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lemore_core.data.augment import Image, distort_colors

TRIES = 10
MARGIN = 8 / 7  # the short side over the crop's, in validation (256 to 224)


@dataclass(frozen=True)
class ResizedCrop:
    """Random window, resized to ``size x size``, flipped and distorted in colour.

    ``scale`` is the range of the window's share of the area, ``ratio`` that of its width over its
    height (Szegedy et al., CVPR 2015).
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, image: Image, random: np.random.Generator) -> Image:
        """Return (size, size, 3) RGB uint8 of an image (H, W, 3) RGB uint8."""
        height, width = self.window(image.shape[0], image.shape[1], random)
        top = int(random.integers(image.shape[0] - height + 1))
        left = int(random.integers(image.shape[1] - width + 1))
        pixels = _resized(image[top : top + height, left : left + width], self.size, self.size)
        if random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return distort_colors(np.ascontiguousarray(pixels), random)

    def window(self, height: int, width: int, random: np.random.Generator) -> tuple[int, int]:
        """Return (height, width) of a window in an image of that size."""
        for _ in range(TRIES):
            area = height * width * random.uniform(*self.scale)
            ratio = np.exp(random.uniform(*np.log(self.ratio)))
            rows, columns = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
            if 0 < rows <= height and 0 < columns <= width:
                return rows, columns
        # a long narrow image: as much of it as the ratios allow
        narrowest, widest = self.ratio
        return (
            min(height, max(1, round(width / narrowest))),
            min(width, max(1, round(height * widest))),
        )


def center_crop(image: Image, size: int) -> Image:
    """Return the middle of an image (H, W, 3) RGB uint8, scaled to (size, size, 3)."""
    height, width = image.shape[:2]
    factor = size * MARGIN / min(height, width)
    pixels = _resized(image, round(height * factor), round(width * factor))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def _resized(image: Image, height: int, width: int) -> Image:
    # skipping pixels would show the network an aliasing that no camera has
    shrinks = height < image.shape[0] and width < image.shape[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=smooth), np.uint8)
