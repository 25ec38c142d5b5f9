from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.images.files import write_labels
from lemore_core.images.render import colorize, overlay
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

CAMVID = load_taxonomy('camvid')


def test_colors_are_the_palettes() -> None:
    labels = np.random.default_rng(0).integers(0, 12, (7, 9), np.uint8)
    labels[0, 0] = 255
    assert np.array_equal(colorize(labels, CAMVID.palette), CAMVID.palette[labels])
    palette = np.zeros((65536, 3), np.uint8)
    palette[300] = (1, 2, 3)
    many = colorize(np.array([[0, 300, 65535]], np.uint16), palette)
    assert many.tolist() == [[[0, 0, 0], [1, 2, 3], [0, 0, 0]]]


def test_the_overlay_blends_in_rgb_whatever_the_encoding() -> None:
    labels = np.full((2, 2), 3, np.uint8)
    red_in_bgr = np.full((2, 2, 3), (0, 0, 200), np.uint8)
    for alpha, expected in ((0.0, [200, 0, 0]), (1.0, [128, 64, 128]), (0.5, [164, 32, 64])):
        blended = overlay(red_in_bgr, 'bgr8', labels, CAMVID.palette, alpha)
        assert blended[0, 0].tolist() == expected


@pytest.mark.parametrize('name', BUILT_IN)
def test_a_legend_has_every_color(name: str, tmp_path: Path, lemore: Any) -> None:
    assert lemore('taxonomy', 'export', name, '-o', tmp_path / 'legend.png').status == 0
    image = cv2.imread(str(tmp_path / 'legend.png'))
    assert image is not None
    shown = np.unique(image.astype(np.uint32) @ (1, 1 << 8, 1 << 16))
    colors = np.array(load_taxonomy(name).colors, np.uint32) @ (1 << 16, 1 << 8, 1)
    assert np.isin(colors, shown).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_labels_are_written_as_ids(dtype: type[np.uint8], tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 11, (6, 8)).astype(dtype)
    labels[0, 0] = np.iinfo(dtype).max
    write_labels(tmp_path / 'labels.png', labels, CAMVID)
    image = Image.open(tmp_path / 'labels.png')
    assert np.array_equal(np.asarray(image), labels)
    if dtype == np.uint8:
        assert np.array_equal(np.asarray(image.convert('RGB')), CAMVID.palette[labels])


def test_a_table_is_shown_and_exported(tmp_path: Path, lemore: Any) -> None:
    assert lemore('taxonomy', 'show', 'camvid').says('    3  #804080  road\n')
    export = ['taxonomy', 'export', 'camvid', '-o']
    assert lemore(*export, tmp_path / 'a.json').status == 0
    values = json.loads((tmp_path / 'a.json').read_text())
    assert Taxonomy.from_dict(values, 'the file') == CAMVID
    assert lemore(*export, tmp_path / 'a.gpl').fails(
        "'.gpl', taxonomies are written as .json, .png"
    )
