from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.data.readers import read_ids, read_ids_or_colors
from lemore_core.data.samples import DataError
from lemore_core.taxonomy import Taxonomy, TaxonomyError

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
    wide = Taxonomy('wide', ('a', 'b'), (RED, GREEN), ids=((300,), (65534,)))
    path = put('a.png', [[0, 300, 65534]], np.uint16)
    with pytest.raises(TaxonomyError, match=r'ids \[0\]'):
        read_ids(path, wide)
    assert read_ids(put('b.tif', [[300, 65534]], np.uint16), wide).tolist() == [[0, 1]]
    cv2.imwrite(str(tmp_path / 'b.png'), np.array([[(255, 0, 0, 0)]], np.uint8))
    assert read_ids_or_colors(tmp_path / 'b.png', TABLE).tolist() == [[2]]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    with pytest.raises(DataError, match=r'a\.png is no readable image: .*No such file'):
        read_ids(path, TABLE)
    path.write_bytes(b'no image')
    with pytest.raises(DataError, match=r'a\.png is no readable image: .*cannot identify'):
        read_ids(path, TABLE)
