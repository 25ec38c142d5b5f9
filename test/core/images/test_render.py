from __future__ import annotations

import numpy as np

from lemore_core.images.render import colorize, legend, overlay
from lemore_core.taxonomy import load_taxonomy

CAMVID = load_taxonomy('camvid')


def test_colors_are_the_palettes() -> None:
    labels = np.random.default_rng(0).integers(0, 12, (7, 9), np.uint8)
    labels[0, 0] = 255
    assert np.array_equal(colorize(labels, CAMVID.palette), CAMVID.palette[labels])


def test_colors_of_16_bit_labels() -> None:
    labels = np.array([[0, 300, 65535]], np.uint16)
    palette = np.zeros((65536, 3), np.uint8)
    palette[300] = (1, 2, 3)
    assert colorize(labels, palette).tolist() == [[[0, 0, 0], [1, 2, 3], [0, 0, 0]]]


def test_the_overlay_blends_in_rgb_whatever_the_encoding() -> None:
    labels = np.full((2, 2), 3, np.uint8)
    red_in_bgr = np.zeros((2, 2, 3), np.uint8)
    red_in_bgr[..., 2] = 200
    assert overlay(red_in_bgr, 'bgr8', labels, CAMVID.palette, 0.0)[0, 0].tolist() == [200, 0, 0]
    assert overlay(red_in_bgr, 'bgr8', labels, CAMVID.palette, 1.0)[0, 0].tolist() == [128, 64, 128]
    assert overlay(red_in_bgr, 'bgr8', labels, CAMVID.palette, 0.5)[0, 0].tolist() == [164, 32, 64]


def test_the_legend_shows_every_color() -> None:
    image = legend(CAMVID, 600)
    assert image.shape[1:] == (600, 3)
    shown = {tuple(color) for color in image.reshape(-1, 3).tolist()}
    assert set(CAMVID.colors) <= shown
