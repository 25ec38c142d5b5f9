"""Augmentation of an image together with its mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.data.light import relight
from lemore_core.taxonomy import UNLABELLED_8BIT

MAX_SHARE = 0.75  # of one class in a crop
CROP_TRIES = 10

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """Random scale, crop, flip and photometric distortion (the field's usual recipe).

    ``height`` and ``width`` are the crop's; ``scale`` the range of the resize before it. With
    ``resize`` (long side, short side) an image is first fitted into these, whichever way it lies.
    ``light`` takes the place of the mild distortion of colours by light from noon to dusk; a small
    image then lies anywhere in the crop, not in its upper left, so that its place says nothing.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.5, 2.0)
    resize: tuple[int, int] | None = None
    fill: tuple[int, int, int] = (124, 116, 104)
    light: bool = False

    def __call__(self, image: Image, mask: Mask, random: np.random.Generator) -> tuple[Image, Mask]:
        """Return an augmented pair: (height, width, 3) RGB uint8 and (height, width) uint8."""
        image, mask = self._rescale(image, mask, random)
        image, mask = self._pad(image, mask, random)
        image, mask = self._crop(image, mask, random)
        if random.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        distort = relight if self.light else distort_colors
        return distort(np.ascontiguousarray(image), random), np.ascontiguousarray(mask)

    def _rescale(self, image: Image, mask: Mask, random: np.random.Generator) -> tuple[Image, Mask]:
        factor = float(np.exp(random.uniform(*np.log(self.scale))))
        height, width = mask.shape
        if self.resize is not None:
            long, short = max(self.resize), min(self.resize)
            factor *= min(long / max(height, width), short / min(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        # skipping pixels would show the network an aliasing that no camera has
        shrinks = factor < 1 / 2
        smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return (
            np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8),
            np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
        )

    def _pad(self, image: Image, mask: Mask, random: np.random.Generator) -> tuple[Image, Mask]:
        height, width = mask.shape
        down, right = max(0, self.height - height), max(0, self.width - width)
        if not (down or right):
            return image, mask
        top = int(random.integers(down + 1)) if self.light else 0
        left = int(random.integers(right + 1)) if self.light else 0
        missing = (top, down - top, left, right - left)
        border = cv2.BORDER_CONSTANT
        return (
            np.asarray(cv2.copyMakeBorder(image, *missing, border, value=self.fill), np.uint8),
            np.asarray(
                cv2.copyMakeBorder(mask, *missing, border, value=[UNLABELLED_8BIT]), np.uint8
            ),
        )

    def _crop(self, image: Image, mask: Mask, random: np.random.Generator) -> tuple[Image, Mask]:
        for _ in range(CROP_TRIES):
            top = int(random.integers(mask.shape[0] - self.height + 1))
            left = int(random.integers(mask.shape[1] - self.width + 1))
            window = np.s_[top : top + self.height, left : left + self.width]
            counts = np.bincount(mask[window].ravel(), minlength=256)[:UNLABELLED_8BIT]
            if counts.max() <= MAX_SHARE * max(1, counts.sum()):
                break
        return image[window], mask[window]


def distort_colors(image: Image, random: np.random.Generator) -> Image:
    """Shift brightness, contrast, saturation and hue of an RGB image (H, W, 3) uint8."""
    gain = random.uniform(0.6, 1.4)
    offset = random.uniform(-32, 32)
    values = cv2.convertScaleAbs(np.maximum(image * np.float32(gain) + np.float32(offset), 0))
    hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
    hue = (hsv[..., 0].astype(np.int16) + int(random.integers(-9, 10))) % 180
    saturation = np.clip(hsv[..., 1] * random.uniform(0.6, 1.4), 0, 255)
    hsv = np.stack([hue.astype(np.uint8), saturation.astype(np.uint8), hsv[..., 2]], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
