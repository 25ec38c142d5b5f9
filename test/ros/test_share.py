from __future__ import annotations

from pathlib import Path

import pytest

from lemore_ros import share
from lemore_ros.share import image_profile, profile_advice, share_directory

ROOT = Path(__file__).parents[2]


def test_the_ament_index_comes_before_what_pip_installed_and_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay, installed = tmp_path / 'overlay' / 'share', tmp_path / 'share' / 'lemore_ros'
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(overlay.parent))
    monkeypatch.setattr(share.sys, 'prefix', str(tmp_path))
    assert share_directory() == ROOT
    installed.mkdir(parents=True)
    assert share_directory() == installed
    (overlay / 'lemore_ros').mkdir(parents=True)
    marker = overlay / 'ament_index' / 'resource_index' / 'packages' / 'lemore_ros'
    marker.parent.mkdir(parents=True)
    marker.touch()
    assert share_directory() == overlay / 'lemore_ros'


@pytest.mark.parametrize(
    ('middleware', 'variables', 'named'),
    [
        ('', share.PROFILE_VARIABLES, 'shared memory'),
        ('rmw_fastrtps_cpp', share.PROFILE_VARIABLES, 'fastdds_shared_memory.xml'),
        ('rmw_cyclonedds_cpp', ('CYCLONEDDS_URI',), 'cyclonedds_images.xml'),
        ('rmw_zenoh_cpp', (), 'shared memory or larger buffers of rmw_zenoh_cpp'),
    ],
)
def test_the_middleware_gets_its_profile_unless_the_user_has_one(
    middleware: str, variables: tuple[str, ...], named: str
) -> None:
    profile = image_profile({'RMW_IMPLEMENTATION': middleware})
    assert tuple(profile) == variables
    assert share.no_profile({'RMW_IMPLEMENTATION': middleware}) == dict.fromkeys(variables, '')
    for value in profile.values():
        path = value.removeprefix('file://')
        assert not path.endswith('.xml') or Path(path).is_file()
    for variable in variables:
        assert image_profile({'RMW_IMPLEMENTATION': middleware, variable: 'mine'}) == {}
    assert named in profile_advice(middleware)
