"""Augment an image together with its mask: scale, crop, flip, colours, and light.

A drive of a few minutes has one light, and a network trained on few drives overfits to it. The
ranges of :func:`relight` reach from noon to dusk, so that each drive is seen in every light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.data.samples import SoftLabels
from lemore_core.images.image import Pixels
from lemore_core.taxonomy import UNLABELLED_8BIT

MAX_SHARE = 0.75  # of one class in a crop
CROP_TRIES = 10
SOFT_STRIDE = 4  # pixels of the crop to a soft label

MEDIAN = (24.0, 150.0)  # grey level: a street at dusk, and one in the sun
GAMMA = (0.4, 2.5)
GAIN = (0.75, 1.25)
OFFSET = (-20.0, 20.0)
CAST = 0.15  # of the logarithm of each channel's gain
SATURATION = (0.3, 1.6)
HUE = 0.25  # radians about the grey axis
BLUR_CHANCE = 0.2
NOISE_CHANCE = 0.3
NOISE = (2.0, 10.0)  # standard deviation in grey levels
JPEG_CHANCE = 0.15
JPEG_QUALITY = (20, 80)

Random = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """Random scale, crop, flip and photometric distortion (the field's usual recipe).

    ``height`` and ``width`` are the crop's, ``scale`` is the range of the random resize before it.
    With ``resize`` (long side, short side) an image is first fitted into these, landscape or
    portrait. ``light`` replaces the mild distortion of colours by :func:`relight`; images smaller
    than the crop are then placed at random in it, not in its upper left corner.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.5, 2.0)
    resize: tuple[int, int] | None = None
    fill: tuple[int, int, int] = (124, 116, 104)
    light: bool = False

    def __call__(
        self, image: Pixels, mask: Pixels, random: Random, soft: SoftLabels | None = None
    ) -> tuple[Pixels, ...]:
        """Return (height, width, 3) RGB uint8, (height, width) uint8, and soft labels if given.

        Soft labels (2, n, h, w) become (2, n, height / 4, width / 4), of probability 0 outside of
        the image.
        """
        factor = self._factor(mask.shape, random)
        # nearest neighbour would alias a shrunken image as no camera does
        smooth = cv2.INTER_AREA if factor < 1 / 2 else cv2.INTER_LINEAR
        image, mask = resized(image, factor, smooth), resized(mask, factor, cv2.INTER_NEAREST)
        size, border = mask.shape, self._border(mask.shape, random)
        image, mask = padded(image, border, self.fill), padded(mask, border, (UNLABELLED_8BIT,))
        window = self._window(mask, random)
        image, mask = image[window], mask[window]
        layers = [mask]
        if soft is not None:
            corner = window[0].start - border[0], window[1].start - border[2]
            layers.append(cropped(soft, corner, (self.height, self.width), size))
        if random.random() < 0.5:
            image, layers = image[:, ::-1], [layer[..., ::-1] for layer in layers]
        distort = relight if self.light else distort_colors
        image = distort(np.ascontiguousarray(image), random)
        return image, *map(np.ascontiguousarray, layers)

    def _factor(self, shape: tuple[int, ...], random: Random) -> float:
        factor = float(np.exp(random.uniform(*np.log(self.scale))))
        if self.resize is not None:
            long, short = max(self.resize), min(self.resize)
            factor *= min(long / max(shape), short / min(shape))
        return factor

    def _border(self, shape: tuple[int, ...], random: Random) -> tuple[int, int, int, int]:
        """Return the rows above and below and the columns left and right of a small image."""
        down, right = max(0, self.height - shape[0]), max(0, self.width - shape[1])
        top = left = 0
        if self.light and (down or right):
            top, left = int(random.integers(down + 1)), int(random.integers(right + 1))
        return top, down - top, left, right - left

    def _window(self, mask: Pixels, random: Random) -> tuple[slice, slice]:
        """Return a random crop, preferably one that a single class does not fill."""
        for _ in range(CROP_TRIES):
            top = int(random.integers(mask.shape[0] - self.height + 1))
            left = int(random.integers(mask.shape[1] - self.width + 1))
            window = np.s_[top : top + self.height, left : left + self.width]
            counts = np.bincount(mask[window].ravel(), minlength=256)[:UNLABELLED_8BIT]
            if counts.max() <= MAX_SHARE * max(1, counts.sum()):
                break
        return window


def resized(layer: Pixels, factor: float, interpolation: int) -> Pixels:
    """Return a layer (H, W[, C]) scaled by ``factor``."""
    size = [max(1, round(side * factor)) for side in (layer.shape[1], layer.shape[0])]
    return np.asarray(cv2.resize(layer, size, interpolation=interpolation), np.uint8)


def padded(layer: Pixels, border: tuple[int, int, int, int], fill: tuple[int, ...]) -> Pixels:
    """Return a layer (H, W[, C]) with a border (top, bottom, left, right) of the value ``fill``."""
    if not any(border):
        return layer
    return np.asarray(cv2.copyMakeBorder(layer, *border, cv2.BORDER_CONSTANT, value=fill), np.uint8)


def cropped(
    soft: SoftLabels, corner: tuple[int, int], crop: tuple[int, int], image: tuple[int, ...]
) -> SoftLabels:
    """Return the soft labels at a grid over a crop, whose ``corner`` lies in an image of a size."""
    places, outside = [], []
    for start, side, whole, cells in zip(corner, crop, image, soft.shape[2:], strict=True):
        number = max(1, side // SOFT_STRIDE)
        centres = start + side * (np.arange(number) + 0.5) / number
        outside.append((centres < 0) | (centres >= whole))
        places.append(np.clip(centres * cells / whole, 0, cells - 1).astype(int))
    taken = soft[:, :, places[0][:, None], places[1]]
    taken[1][:, outside[0][:, None] | outside[1]] = 0
    return taken


def distort_colors(image: Pixels, random: Random) -> Pixels:
    """Shift brightness, contrast, saturation and hue of an RGB image (H, W, 3) uint8."""
    gain = random.uniform(0.6, 1.4)
    offset = random.uniform(-32, 32)
    values = cv2.convertScaleAbs(np.maximum(image * np.float32(gain) + np.float32(offset), 0))
    hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
    hue = (hsv[..., 0].astype(np.int16) + int(random.integers(-9, 10))) % 180
    saturation = np.clip(hsv[..., 1] * random.uniform(0.6, 1.4), 0, 255)
    hsv = np.stack([hue.astype(np.uint8), saturation.astype(np.uint8), hsv[..., 2]], axis=-1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def relight(image: Pixels, random: Random) -> Pixels:
    """Return RGB (H, W, 3) uint8 in another light: exposure, colour, blur, noise and JPEG."""
    image = np.asarray(cv2.LUT(image, response(image, random)), np.uint8)
    image = np.asarray(cv2.transform(image, color_matrix(random)), np.uint8)
    if random.random() < BLUR_CHANCE:
        sigma = float(random.uniform(0.5, 1.2))
        image = np.asarray(cv2.GaussianBlur(image, (5, 5), sigma), np.uint8)
    if random.random() < NOISE_CHANCE:
        image = add_noise(image, float(random.uniform(*NOISE)), random)
    if random.random() < JPEG_CHANCE:
        image = compress(image, int(random.integers(*JPEG_QUALITY)))
    return image


def response(image: Pixels, random: Random) -> Pixels:
    """Return a response (1, 256, 3) uint8 for an image: gamma, gain, offset and colour cast.

    The gamma brings the image's median near a random one: a dark image is more often lit than
    darkened to nothing, and a bright one the other way round.
    """
    median = np.clip(np.median(image[::8, ::8, 1]), 8, 247) / 255
    wanted = np.exp(random.uniform(*np.log(MEDIAN))) / 255
    gamma = np.clip(np.log(wanted) / np.log(median), *GAMMA)
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    gains = random.uniform(*GAIN) * np.exp(random.uniform(-CAST, CAST, 3))
    values = 255 * levels**gamma * gains + random.uniform(*OFFSET)
    return np.asarray(np.clip(values, 0, 255)[None], np.uint8)


def color_matrix(random: Random) -> NDArray[np.float32]:
    """Return a (3, 3) matrix that turns the hue about the grey axis and scales the saturation."""
    axis = np.full(3, 3**-0.5)
    angle, saturation = random.uniform(-HUE, HUE), random.uniform(*SATURATION)
    grey = np.outer(axis, axis)
    cross = np.cross(np.eye(3), axis)
    turned = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    return np.asarray(grey + saturation * turned, np.float32)


def add_noise(image: Pixels, deviation: float, random: Random) -> Pixels:
    """Add Gaussian noise, the same in each channel, as in a dark image from a small sensor."""
    normal = random.standard_normal(image.shape[:2], np.float32)
    noise = (deviation * normal).astype(np.int16)
    return np.asarray(cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def compress(image: Pixels, quality: int) -> Pixels:
    """Return the image after JPEG compression of that quality (0..100)."""
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
