"""Where the package's launch and configuration files lie, and which of them the middleware takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = 'lemore_ros'
FAST_DDS, ZENOH = 'rmw_fastrtps_cpp', 'rmw_zenoh_cpp'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# middleware -> the variables by which a user configures it, and what camera images need there; {dds}
# is the folder of profiles
_FAST_DDS_PROFILE = dict.fromkeys(PROFILE_VARIABLES, '{dds}/fastdds_shared_memory.xml')
_PROFILES: Mapping[str, Mapping[str, str]] = {
    FAST_DDS: _FAST_DDS_PROFILE,
    'rmw_fastrtps_dynamic_cpp': _FAST_DDS_PROFILE,
    'rmw_cyclonedds_cpp': {'CYCLONEDDS_URI': 'file://{dds}/cyclonedds_images.xml'},
    ZENOH: {
        'ZENOH_CONFIG_OVERRIDE': 'transport/shared_memory/enabled=true',
        'ZENOH_SHM_ALLOC_SIZE': str(128 * 1024 * 1024),
    },
}


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
    middleware = environment.get('RMW_IMPLEMENTATION') or FAST_DDS
    profile = _PROFILES.get(middleware, {})
    # what Zenoh has of its own file its other variables would change
    of_file = ('ZENOH_SESSION_CONFIG_URI',) if middleware == ZENOH else ()
    if any(environment.get(variable) for variable in (*profile, *of_file)):
        return {}
    folder = share_directory() / 'config' / 'dds'
    return {name: value.format(dds=folder) for name, value in profile.items()}


def no_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that leave the middleware to its defaults."""
    return dict.fromkeys(_PROFILES.get(environment.get('RMW_IMPLEMENTATION') or FAST_DDS, {}), '')


def profile_advice(middleware: str) -> str:
    """Say what large images need of a middleware, such as ``rmw_fastrtps_cpp``, at both ends."""
    match middleware:
        case 'rmw_cyclonedds_cpp':
            what = 'the Cyclone DDS profile config/dds/cyclonedds_images.xml'
        case 'rmw_zenoh_cpp':
            what = 'ZENOH_CONFIG_OVERRIDE=transport/shared_memory/enabled=true'
        case _:
            what = 'the Fast DDS profile config/dds/fastdds_shared_memory.xml'
    return f'large images need {what} at both ends'


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
