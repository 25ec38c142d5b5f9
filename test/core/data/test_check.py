from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lemore_core.data.check import CheckResult, check, require_sound
from lemore_core.data.datasets import open_dataset
from lemore_core.data.samples import DataError
from lemore_core.images.files import ORIENTATION

TURNED = ': Exif turns the image (orientation 6), turn the mask too, or remove that'
SIDEWAYS = ': it lies on its side, turn it'
SCALED = ': scale it by nearest neighbour, which adds no values'
Put = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, put: Put, put_image: Put) -> Path:
    """Two sound pairs of CamVid's layout that have every class."""
    for name in ('a', 'b'):
        put_image(f'val/{name}.png', 2, 6)
        put(f'valannot/{name}.png', [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    return tmp_path


def checked(root: Path) -> CheckResult:
    return check(open_dataset('camvid', root).listing('val'))


def test_a_sound_data_set_is_measured(root: Path, put: Put) -> None:
    report = checked(root)
    assert (report.errors, report.warnings) == ([], [])
    assert report.sizes == {(2, 6): 2}
    assert report.pixels[:12].tolist() == report.masks[:12].tolist() == [2] * 11 + [0]
    assert (report.pixels[255], report.pixels.sum()) == (2, 24)
    assert require_sound(open_dataset('camvid', root).samples('val'), 'val') == []
    with pytest.raises(DataError, match='there are no samples'):
        check([])
    for name in ('a', 'b'):
        put(f'valannot/{name}.png', [[0, 1, 2, 3, 4, 5], [6, 6, 8, 9, 9, 11]])
    report = checked(root)
    assert report.warnings == ['no mask has the classes fence, bicyclist']
    samples = open_dataset('camvid', root).samples('val')
    assert require_sound(samples, 'val') == ['val: no mask has the classes fence, bicyclist']
    # a class alone would be segmented without a fault
    for name in ('a', 'b'):
        put(f'valannot/{name}.png', [[3] * 6] * 2)
    with pytest.raises(DataError, match='val has pixels of road alone'):
        require_sound(samples, 'val')
    assert report.pixels[:11].tolist() == [2, 2, 2, 2, 2, 2, 4, 0, 2, 4, 0]


def test_every_problem_is_named(root: Path, put: Put, put_image: Put) -> None:
    (root / 'val' / 'b.png').unlink()
    put_image('val/c.png', 2, 2)
    put_image('val/d.png', 2, 2)
    put('valannot/d.png', [[0, 0, 0], [0, 0, 0]])
    put_image('val/d0.png', 2, 3)
    put('valannot/d0.png', [[0, 0], [0, 0], [0, 0]])
    put_image('val/e.png', 1, 2)
    put('valannot/e.png', [[0, 77]])
    put_image('val/f.png', 1, 2)
    put('valannot/f.png', [[11, 255]])
    (root / 'val' / 'f.png').write_bytes(b'not an image')
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new('RGB', (3, 2)).save(root / 'val' / 'd1.png', exif=exif)
    put('valannot/d1.png', [[0, 0, 0], [0, 0, 0]])
    report = checked(root)
    expected = [
        f'there is no image {root}/val/b.png for the mask {root}/valannot/b.png',
        f'{root}/val/c.png has no mask {root}/valannot/c.png',
        f'{root}/valannot/d.png is (2, 3), its image (2, 2) (height, width){SCALED}',
        f'{root}/valannot/d0.png is (3, 2), its image (2, 3) (height, width){SIDEWAYS}',
        f'{root}/valannot/d1.png is (2, 3), its image (3, 2) (height, width){TURNED}',
        (
            f"{root}/valannot/e.png: the mask holds ids [77], unknown to 'camvid', whose classes "
            'have ids from 0 to 10: write the ids into the class table, such as {77: road}, or under '
            'its ignored; or save masks without smoothed edges or JPEG'
        ),
    ]
    assert report.errors[:-1] == expected
    assert report.errors[-1].startswith(f'{root}/val/f.png is no readable image: ')
    assert report.warnings == [f'{root}/valannot/f.png has no labelled pixel']
    samples = open_dataset('camvid', root).listing('val')
    with pytest.raises(DataError, match=r'b\.png.*; .*c\.png.*; .*; .*; .*; .*f\.png'):
        require_sound(samples, 'val')
    with pytest.raises(DataError, match=r'; … and 15 more$'):
        require_sound(samples * 5, 'val')


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_truncated_files_are_noticed(root: Path, suffix: str) -> None:
    image = np.random.default_rng(1).integers(256, size=(2, 6, 3), dtype=np.uint8)
    content = cv2.imencode(suffix, image)[1].tobytes()
    (root / 'val' / 'a.png').unlink()
    path = root / 'val' / f'a{suffix}'
    path.write_bytes(content[:-4])
    mask = root / 'valannot' / 'b.png'
    mask.write_bytes(mask.read_bytes()[:-24])
    first, second = checked(root).errors
    assert first.startswith(f'{path} is no readable image: ')
    assert second.startswith(f'{mask} is no readable image: ')
