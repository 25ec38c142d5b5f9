from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from lemore_ros import share
from lemore_ros.share import share_directory

ROOT = Path(__file__).parents[2]


def test_the_share_directory_holds_launch_and_configuration() -> None:
    for name in ('launch/segmentation.launch.py', 'config/segmentation.yaml'):
        assert (share_directory() / name).is_file()


def test_the_sources_serve_where_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setattr(share.sys, 'prefix', str(tmp_path))
    assert share_directory() == ROOT
    installed = tmp_path / 'share' / 'lemore_ros'
    installed.mkdir(parents=True)
    assert share_directory() == installed


def test_the_ament_index_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = tmp_path / 'overlay'
    (overlay / 'share' / 'lemore_ros').mkdir(parents=True)
    marker = overlay / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'lemore_ros'
    marker.parent.mkdir(parents=True)
    marker.touch()
    (tmp_path / 'share' / 'lemore_ros').mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(overlay))
    monkeypatch.setattr(share.sys, 'prefix', str(tmp_path))
    assert share_directory() == overlay / 'share' / 'lemore_ros'


def test_rviz_shows_the_topics_of_the_node() -> None:
    path = ROOT / 'config' / 'rviz' / 'segmentation.rviz'
    manager = yaml.safe_load(path.read_text(encoding='utf-8'))['Visualization Manager']
    topics = {display['Name']: display['Topic']['Value'] for display in manager['Displays']}
    assert topics == {
        'Camera': '/image',
        'Overlay': '/lemore_segmentation/overlay',
        'Labels': '/lemore_segmentation/color',
    }
    assert manager['Global Options']['Fixed Frame'] == 'camera'


def test_the_dds_profile_is_well_formed() -> None:
    path = ROOT / 'config' / 'dds' / 'fastdds_shared_memory.xml'
    namespace = {'dds': 'http://www.eprosima.com'}
    root = ET.parse(path).getroot()
    sizes = [int(e.text or 0) for e in root.iterfind('.//dds:segment_size', namespace)]
    assert sizes == [128 * 1024 * 1024]
