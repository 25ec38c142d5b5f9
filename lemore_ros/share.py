"""Where the package's launch and configuration files lie, and which of them the middleware takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = 'lemore_ros'
FAST_DDS = 'rmw_fastrtps_cpp'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


class _Profile(NamedTuple):
    """What camera images need of a middleware.

    ``variables`` configure it; {dds} is the folder of profiles. Nor is it touched where the user has
    one of ``others``. ``advice`` is what both ends need, in words.
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
    """Return the folder that holds ``launch`` and ``config``.

    That is what the ament index says, else the Python prefix that ``pip install`` wrote to, else
    the source tree.
    """
    installed = _from_ament_index() or Path(sys.prefix, 'share', PACKAGE)
    return installed if installed.is_dir() else Path(__file__).parents[1]


def image_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let the middleware carry camera images.

    By default Fast DDS has a shared-memory segment that is smaller than a frame, Cyclone DDS a short
    receive buffer, and Zenoh no shared memory. The middleware is that of ``RMW_IMPLEMENTATION``, else
    Fast DDS. None are returned where ``environment`` configures it already, or it is another one.
    """
    profile = _profile_of(environment)
    if any(environment.get(variable) for variable in (*profile.variables, *profile.others)):
        return {}
    folder = share_directory() / 'config' / 'dds'
    return {name: value.format(dds=folder) for name, value in profile.variables.items()}


def no_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that leave the middleware to its defaults."""
    return dict.fromkeys(_profile_of(environment).variables, '')


def profile_advice(middleware: str) -> str:
    """Say what large images need of a middleware, such as ``rmw_fastrtps_cpp``, at both ends."""
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
