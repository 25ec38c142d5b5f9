from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lemore_core.cli.main import main
from lemore_core.data.drives import drives, held_out
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import load_taxonomy

CAMVID = load_taxonomy('camvid')


def samples(*names: str) -> list[Sample]:
    return [Sample(Path(name), Path('mask.png'), CAMVID) for name in names]


TRAIN = samples('t/0016E5_01.png', 't/0001TP_02.png', 't/0016E5_02.png')
VAL = samples('v/0016E5_09.png', 'v/0006R0_01.png')


def test_a_drive_is_the_beginning_of_a_name() -> None:
    found = drives(TRAIN)
    assert {name: len(images) for name, images in found.items()} == {'0001TP': 1, '0016E5': 2}
    assert list(drives(samples('one/1.png', 'two/1.png'))) == ['one', 'two']


def test_one_drive_is_held_out_of_all() -> None:
    others, kept = held_out([*TRAIN, *VAL], '0016E5')
    assert [sample.image.stem for sample in others] == ['0001TP_02', '0006R0_01']
    assert kept == [TRAIN[0], TRAIN[2], VAL[0]]
    with pytest.raises(DataError, match='0001 cannot be held out: the drives are 0001TP, 0016E5'):
        held_out(TRAIN, '0001')
    with pytest.raises(DataError, match=r'the drives are a$'):
        held_out(samples('a_1.png', 'a_2.png'), 'a')


def test_the_check_warns_of_a_split_that_leaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask = np.zeros((8, 12, 3), np.uint8), np.zeros((8, 12), np.uint8)
    for split, name in (('train', 'a_1'), ('train', 'b_1'), ('val', 'a_2')):
        for folder, pixels in ((split, image), (f'{split}annot', mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), pixels)
    assert main(['data', 'check', '--dataset', 'camvid', '--data', str(tmp_path)]) == 0
    warnings = capsys.readouterr().err
    assert '1 images of val are of drive a, of which train has 1' in warnings
