from __future__ import annotations

import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lemore_ros.messages.camera_info import (
    CameraInfoError,
    Intrinsics,
    rectified_intrinsics,
    scaled_camera_info,
)


def camera_info(**changes: object) -> CameraInfo:
    info = CameraInfo(height=480, width=640, distortion_model='plumb_bob')
    info.header.frame_id = 'sensor'
    info.d = [0.1, -0.2, 0.001, 0.002, 0.3]
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0]
    info.p = [400.0, 0.0, 322.0, -48.0, 0.0, 404.0, 238.0, 8.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def test_a_camera_at_half_the_size() -> None:
    header = Header(frame_id='optical')
    before = camera_info(roi=RegionOfInterest(do_rectify=True), binning_x=1)
    info = scaled_camera_info(before, header, height=240, width=320)
    assert info.header is header
    assert (info.height, info.width) == (240, 320)
    assert list(info.k) == [250.0, 0.0, 160.0, 0.0, 255.0, 120.0, 0.0, 0.0, 1.0]
    assert list(info.p) == [200.0, 0, 161.0, -24.0, 0, 202.0, 119.0, 4.0, 0, 0, 1, 0]
    # normalised coordinates stay
    assert (list(info.d), list(info.r)) == (list(before.d), list(before.r))
    assert info.distortion_model == 'plumb_bob'
    assert (info.roi, info.binning_x, info.binning_y) == (RegionOfInterest(), 0, 0)


def test_region_and_binning_are_applied_before_the_size() -> None:
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=400, height=200)
    info = camera_info(roi=roi, binning_x=2, binning_y=2)
    whole = scaled_camera_info(info, Header(), height=100, width=200)
    assert (whole.k[0], whole.k[2], whole.k[4], whole.k[5]) == (250.0, 110.0, 255.0, 100.0)
    assert (whole.p[2], whole.p[3], whole.p[6]) == (111.0, -24.0, 99.0)
    assert whole.roi == RegionOfInterest()
    doubled = scaled_camera_info(info, Header(), height=200, width=400)
    assert (doubled.k[0], doubled.k[2]) == (500.0, 220.0)
    # and once more: what comes out is taken in
    assert scaled_camera_info(doubled, Header(), height=100, width=200).k[2] == 110.0


def test_a_rectified_image_is_seen_by_p() -> None:
    at_home = rectified_intrinsics(camera_info(), height=480, width=640)
    assert at_home == Intrinsics(400.0, 404.0, 322.0, 238.0, 480, 640)
    half = rectified_intrinsics(camera_info(), height=240, width=320)
    assert half == Intrinsics(200.0, 202.0, 161.0, 119.0, 240, 320)
    # a side that was rounded
    assert rectified_intrinsics(camera_info(), height=480, width=641).width == 641
    without_p = rectified_intrinsics(camera_info(p=[0.0] * 12), height=480, width=640)
    assert without_p == Intrinsics(500.0, 510.0, 320.0, 240.0, 480, 640)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'k': [0.0] * 9}, 'not calibrated: K is .0, 0, 0'),
        ({'k': [float('nan'), *[1.0] * 8]}, 'not calibrated: K is .nan, 1'),
        ({'k': [-500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]}, 'K is .-500'),
        ({'p': [*[400.0] * 5, -404.0, *[1.0] * 6]}, 'not calibrated: P is .400, .*-404'),
        ({'p': [400.0, 0.0, float('inf'), *[404.0] * 9]}, 'P is .400, 0, inf'),
        ({'p': [1e-30, *[400.0] * 11]}, 'P is .1e-30'),
        ({'r': [float('nan')] * 9}, 'R is .nan'),
        ({'d': [float('inf')]}, 'D is .inf'),
        ({'width': 0}, 'for 0x480, region 0x480, binning 1x1: that leaves no image'),
        ({'binning_y': 500}, 'binning 1x500: that leaves no image'),
        ({'width': 1280}, 'for 1280x480, an image of 640x480 has another shape'),
    ],
)
def test_a_camera_that_does_not_fit_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(CameraInfoError, match=expected):
        rectified_intrinsics(camera_info(**changes), height=480, width=640)


def test_labels_have_no_camera_info_where_the_image_has_none() -> None:
    with pytest.raises(CameraInfoError, match='not calibrated'):
        scaled_camera_info(camera_info(k=[0.0] * 9), Header(), height=4, width=4)
