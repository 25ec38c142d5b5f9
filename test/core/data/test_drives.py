from __future__ import annotations

from pathlib import Path

import pytest

from lemore_core.data.drives import divided, drives, shared_drives
from lemore_core.data.samples import DataError, Sample
from lemore_core.taxonomy import Taxonomy

TABLE = Taxonomy('two', ('a', 'b'), ((255, 0, 0), (0, 255, 0)))


def samples(*names: str) -> list[Sample]:
    return [Sample(Path(name), Path('mask.png'), TABLE) for name in names]


TRAIN = samples('t/0016E5_01.png', 't/0001TP_02.png', 't/0016E5_02.png')
VAL = samples('v/0016E5_09.png', 'v/0006R0_01.png')


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['t/0016E5_01.png', 't/0001TP_02.png', 't/0016E5_02.png'], ['0001TP', '0016E5']),
        (['one/1.png', 'two/1.png'], ['one', 'two']),
        (['x/a/1.png', 'y/a/1.png'], ['x/a', 'y/a']),
        # a camera's word for all images, in several folders
        (['p/IMG_1.jpg', 'p/a/IMG_2.jpg', 'p/b/IMG_3.jpg'], ['a', 'b', 'p']),
        (['images/train/frame_1.png', 'images/val/frame_2.png'], ['frame']),
        (['p/20240101_1.jpg', 'p/20240101_2.jpg', 'p/20240102_1.jpg'], ['20240101', '20240102']),
        # numbers of images as in IDD are no recordings
        (
            [f'{part}/{n % 3}/{n}{part[0]}_x.png' for part in ('train', 'val') for n in range(9)],
            ['0', '1', '2'],
        ),
        ([f'p/{n}_x.png' for n in range(5)], ['p']),
    ],
)
def test_drives_are_the_beginnings_of_names_or_folders(
    names: list[str], expected: list[str]
) -> None:
    assert list(drives(samples(*names))) == expected


def test_one_drive_is_held_out_of_all() -> None:
    others, kept, _ = divided(drives([*TRAIN, *VAL]), ['0016E5'])
    assert [sample.image.stem for sample in others] == ['0001TP_02', '0006R0_01']
    assert kept == [TRAIN[0], TRAIN[2], VAL[0]]
    with pytest.raises(DataError, match='0001 cannot be held out: the drives are 0001TP, 0016E5'):
        divided(drives(TRAIN), ['0001'])
    with pytest.raises(DataError, match=r'the drives are a$'):
        divided(drives(samples('a_1.png', 'a_2.png')), ['a'])


def test_drives_of_both_splits_are_named() -> None:
    train, val = (
        samples(*(f'{part}/{n}/{m}.png' for n in range(30)))
        for part, m in (('train', 1), ('val', 2))
    )
    start = '30 images of val from drives that train has too: 30 drives from 0 to 9'
    assert shared_drives(train, val).startswith(start)
    assert not shared_drives(train, samples('x_1.png', 'y_1.png'))
