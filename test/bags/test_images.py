from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lemore_ros.bags.errors import BagError
from lemore_ros.bags.images import open_images
from test.bags.conftest import IMAGE, START, STRING, BagFolder, image, pattern, text


def test_a_bag_gives_the_images_of_its_cameras(bags: BagFolder, tmp_path: Path) -> None:
    messages = [('/front', IMAGE, START + i, image(i, START + i)) for i in range(3)]
    messages += [('/rear', IMAGE, START + 9, image(7, START))]
    path = bags.write(messages)
    source = open_images(path)
    assert source is not None
    assert (source.expected, source.is_moving, source.paths) == (4, True, (path,))
    found = [frame for frame in source.frames() if isinstance(frame, np.ndarray)]
    assert len(found) == 4
    for frame, index in zip(found, (0, 1, 2, 7), strict=True):
        assert np.array_equal(frame[..., ::-1], pattern(index))
    assert open_images(tmp_path) is None
    assert open_images(Path(__file__)) is None


def test_a_bag_without_a_camera_is_refused(bags: BagFolder) -> None:
    path = bags.write([('/note', STRING, START, text('hello'))])
    with pytest.raises(BagError, match='has no camera'):
        open_images(path)
