from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.data.pixels import read_pixels
from lemore_core.data.readers import read_ids, read_ids_or_colors
from lemore_core.data.samples import DataError
from lemore_core.taxonomy import Taxonomy

Put = Callable[..., Path]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
TABLE = Taxonomy('three', ('a', 'b', 'c'), (RED, GREEN, BLUE))


def with_palette(path: Path, indices: list[int], colors: list[tuple[int, int, int]]) -> Path:
    image = Image.fromarray(np.array([indices], np.uint8), 'P')
    image.putpalette([value for color in colors for value in color])
    image.save(path)
    return path


def test_a_palette_does_not_replace_the_ids(tmp_path: Path) -> None:
    path = with_palette(tmp_path / 'a.png', [0, 1, 2, 1], [(9, 9, 9), (8, 8, 8), (7, 7, 7)])
    assert read_ids(path, TABLE).tolist() == [[0, 1, 2, 1]]
    assert read_ids_or_colors(path, TABLE).tolist() == [[0, 1, 2, 1]]
    pixels = read_pixels(path)
    assert pixels.palette is not None
    assert pixels.palette[:3].tolist() == [[9, 9, 9], [8, 8, 8], [7, 7, 7]]


def test_colors_shrunk_to_a_palette_are_not_taken_for_ids(tmp_path: Path) -> None:
    path = with_palette(tmp_path / 'a.png', [0, 1, 2], [RED, GREEN, BLUE])
    assert read_ids_or_colors(path, TABLE).tolist() == [[0, 1, 2]]
    with_palette(path, [0, 1, 1], [BLUE, RED, GREEN])
    with pytest.raises(DataError, match=r'a\.png has a palette of the classes'):
        read_ids_or_colors(path, TABLE)


def test_a_broken_palette_image_is_named(tmp_path: Path) -> None:
    path = with_palette(tmp_path / 'a.png', [0, 1, 2] * 90, [RED, GREEN, BLUE])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r'a\.png is no readable image'):
        read_ids(path, TABLE)


def test_numbers_of_16_bits_and_colors_with_alpha(put: Put, tmp_path: Path) -> None:
    path = put('a.png', [[0, 300, 65535]], np.uint16)
    assert read_pixels(path).values.tolist() == [[0, 300, 65535]]
    cv2.imwrite(str(tmp_path / 'b.png'), np.array([[(30, 20, 10, 0)]], np.uint8))
    assert read_pixels(tmp_path / 'b.png').values.tolist() == [[[10, 20, 30]]]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    with pytest.raises(DataError, match=r'a\.png cannot be read: No such file'):
        read_pixels(path)
    path.touch()
    with pytest.raises(DataError, match=r'a\.png is empty'):
        read_pixels(path)
    path.write_bytes(b'no image')
    with pytest.raises(DataError, match=r'a\.png is no readable image'):
        read_pixels(path)
