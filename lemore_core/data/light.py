"""What light and a camera do to an image: exposure, contrast, colour cast, blur and noise.

A drive of a few minutes has one light, and a network trained on few drives learns it. The ranges
here reach from noon to dusk, so that each image is seen in the light of every other drive.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

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


def relight(image: Image, random: np.random.Generator) -> Image:
    """Return RGB (H, W, 3) uint8 as it might look in another light, through another camera."""
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


def response(image: Image, random: np.random.Generator) -> Image:
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


def color_matrix(random: np.random.Generator) -> NDArray[np.float32]:
    """Return a (3, 3) matrix that turns the hue about the grey axis and scales the saturation."""
    axis = np.full(3, 3**-0.5)
    angle, saturation = random.uniform(-HUE, HUE), random.uniform(*SATURATION)
    grey = np.outer(axis, axis)
    cross = np.cross(np.eye(3), axis)
    turned = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    return np.asarray(grey + saturation * turned, np.float32)


def add_noise(image: Image, deviation: float, random: np.random.Generator) -> Image:
    """Add Gaussian noise, the same in each channel, as in a dark image from a small sensor."""
    normal = random.standard_normal(image.shape[:2], np.float32)
    noise = (deviation * normal).astype(np.int16)
    return np.asarray(cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def compress(image: Image, quality: int) -> Image:
    """Return the image as a JPEG file of that quality (0..100) holds it."""
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
