"""Find the package's launch and configuration files, and the middleware's profile for images."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = 'lemore_ros'
FAST_DDS = 'rmw_fastrtps_cpp'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


class _Profile(NamedTuple):
    """Environment variables for camera images ({dds}: the folder of profiles), and advice in words.

    Nothing is set if the user has one of ``others`` already.
    """

    variables: Mapping[str, str]
    advice: str
    others: tuple[str, ...] = ()


_FAST_DDS_PROFILE = _Profile(
    dict.fromkeys(PROFILE_VARIABLES, '{dds}/fastdds_shared_memory.xml'),
    'the Fast DDS profile config/dds/fastdds_shared_memory.xml',
)
_PROFILES: Mapping[str, _Profile] = {
    FAST_DDS: _FAST_DDS_PROFILE,
    'rmw_fastrtps_dynamic_cpp': _FAST_DDS_PROFILE,
    'rmw_cyclonedds_cpp': _Profile(
        {'CYCLONEDDS_URI': 'file://{dds}/cyclonedds_images.xml'},
        'the Cyclone DDS profile config/dds/cyclonedds_images.xml',
    ),
    'rmw_zenoh_cpp': _Profile(
        {
            'ZENOH_CONFIG_OVERRIDE': 'transport/shared_memory/enabled=true',
            'ZENOH_SHM_ALLOC_SIZE': str(128 * 1024 * 1024),
        },
        'ZENOH_CONFIG_OVERRIDE=transport/shared_memory/enabled=true',
        ('ZENOH_SESSION_CONFIG_URI',),
    ),
}
_OTHER = _Profile({}, _FAST_DDS_PROFILE.advice)


def share_directory() -> Path:
    """Return the folder of ``launch`` and ``config``: ament's, that of pip, or the source tree."""
    installed = _from_ament_index() or Path(sys.prefix, 'share', PACKAGE)
    return installed if installed.is_dir() else Path(__file__).parents[1]


def image_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for camera images, none where ``environment`` has a profile already.

    By default Fast DDS has a shared-memory segment smaller than a frame, Cyclone DDS a short
    receive buffer, and Zenoh no shared memory. ``RMW_IMPLEMENTATION`` names the middleware.
    """
    profile = _profile_of(environment)
    if any(environment.get(variable) for variable in (*profile.variables, *profile.others)):
        return {}
    folder = share_directory() / 'config' / 'dds'
    return {name: value.format(dds=folder) for name, value in profile.variables.items()}


def no_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that switch the profile off."""
    return dict.fromkeys(_profile_of(environment).variables, '')


def profile_advice(middleware: str) -> str:
    """Return advice on large images for a middleware such as ``rmw_fastrtps_cpp``."""
    return f'large images need {_PROFILES.get(middleware, _OTHER).advice} at both ends'


def _profile_of(environment: Mapping[str, str]) -> _Profile:
    return _PROFILES.get(environment.get('RMW_IMPLEMENTATION') or FAST_DDS, _OTHER)


def _from_ament_index() -> Path | None:
    try:
        from ament_index_python.packages import get_package_share_directory
    except ImportError:
        return None
    try:
        return Path(get_package_share_directory(PACKAGE))
    except (OSError, LookupError, ValueError):
        # no ROS environment is sourced (OSError), or it does not know the package
        return None
