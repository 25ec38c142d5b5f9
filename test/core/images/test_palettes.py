from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.cli.main import main
from lemore_core.images.palettes import PaletteError, export_taxonomy
from lemore_core.taxonomy import BUILT_IN, Taxonomy, load_taxonomy

CAMVID = load_taxonomy('camvid')


def test_json_says_all_of_it(tmp_path: Path) -> None:
    export_taxonomy(CAMVID, tmp_path / 'camvid.json')
    values = json.loads((tmp_path / 'camvid.json').read_text())
    assert Taxonomy.from_dict(values, 'the file') == CAMVID


def test_a_gimp_palette_lists_every_color(tmp_path: Path) -> None:
    export_taxonomy(CAMVID, tmp_path / 'camvid.gpl')
    lines = (tmp_path / 'camvid.gpl').read_text().splitlines()
    assert lines[:2] == ['GIMP Palette', 'Name: camvid']
    assert [line.split('\t')[1] for line in lines[3:]] == list(CAMVID.classes)
    assert lines[6].split() == ['128', '64', '128', 'road']


@pytest.mark.parametrize('name', BUILT_IN)
def test_a_legend_has_every_color(name: str, tmp_path: Path) -> None:
    export_taxonomy(load_taxonomy(name), tmp_path / 'legend.png')
    image = cv2.imread(str(tmp_path / 'legend.png'))
    assert image is not None
    shown = np.unique(image.astype(np.uint32) @ (1, 1 << 8, 1 << 16))
    colors = np.array(load_taxonomy(name).colors, np.uint32) @ (1 << 16, 1 << 8, 1)
    assert np.isin(colors, shown).all()


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PaletteError, match=r"'\.csv', taxonomies are written as \.json"):
        export_taxonomy(CAMVID, tmp_path / 'camvid.csv')


def test_the_command_shows_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['taxonomy', 'show', 'camvid']) == 0
    assert '    3  #804080  road\n' in capsys.readouterr().out
    assert main(['taxonomy', 'export', 'camvid', '-o', str(tmp_path / 'a.gpl')]) == 0
    assert (tmp_path / 'a.gpl').is_file()
    assert main(['taxonomy', 'show', 'mars']) == 1
