from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.cli.main import main
from lemore_core.images.palettes import PaletteError, export_taxonomy, write_labels
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

CAMVID = load_taxonomy('camvid')


def test_json_holds_the_whole_table(tmp_path: Path) -> None:
    export_taxonomy(CAMVID, tmp_path / 'camvid.json')
    values = json.loads((tmp_path / 'camvid.json').read_text())
    assert Taxonomy.from_dict(values, 'the file') == CAMVID


@pytest.mark.parametrize('name', BUILT_IN)
def test_a_legend_has_every_color(name: str, tmp_path: Path) -> None:
    export_taxonomy(load_taxonomy(name), tmp_path / 'legend.png')
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


def test_the_command_shows_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['taxonomy', 'show', 'camvid']) == 0
    assert '    3  #804080  road\n' in capsys.readouterr().out
    assert main(['taxonomy', 'export', 'camvid', '-o', str(tmp_path / 'a.json')]) == 0
    assert (tmp_path / 'a.json').is_file()
    assert main(['taxonomy', 'show', 'mars']) == 1
    with pytest.raises(PaletteError, match=r"'\.gpl', taxonomies are written as \.json, \.png"):
        export_taxonomy(CAMVID, tmp_path / 'camvid.gpl')
