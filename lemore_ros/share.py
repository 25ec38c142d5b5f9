"""Find the package's launch and configuration files, and the middleware's profile for images."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PACKAGE = 'lemore_ros'
FAST_DDS = 'rmw_fastrtps_cpp'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')

# middleware -> variables, with {dds} for the folder of the profiles
_FAST_DDS_VARIABLES = dict.fromkeys(PROFILE_VARIABLES, '{dds}/fastdds_shared_memory.xml')
_VARIABLES: Mapping[str, Mapping[str, str]] = {
    FAST_DDS: _FAST_DDS_VARIABLES,
    'rmw_fastrtps_dynamic_cpp': _FAST_DDS_VARIABLES,
    'rmw_cyclonedds_cpp': {'CYCLONEDDS_URI': 'file://{dds}/cyclonedds_images.xml'},
}


def share_directory() -> Path:
    """Return the folder of ``launch`` and ``config``: ament's, that of pip, or the source tree."""
    installed = Path(sys.prefix, 'share', PACKAGE)
    # ament is not installed, no ROS environment is sourced, or it does not know the package
    with suppress(ImportError, OSError, LookupError, ValueError):
        from ament_index_python.packages import get_package_share_directory

        installed = Path(get_package_share_directory(PACKAGE))
    return installed if installed.is_dir() else Path(__file__).parents[1]


def image_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for camera images, none where ``environment`` has a profile already.

    By default Fast DDS has a shared-memory segment smaller than a frame, and Cyclone DDS a short
    receive buffer. ``RMW_IMPLEMENTATION`` names the middleware.
    """
    variables = _variables(environment)
    if any(environment.get(name) for name in variables):
        return {}
    folder = share_directory() / 'config' / 'dds'
    return {name: value.format(dds=folder) for name, value in variables.items()}


def no_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that switch the profile off."""
    return dict.fromkeys(_variables(environment), '')


def profile_advice(middleware: str) -> str:
    """Return advice on large images for a middleware such as ``rmw_fastrtps_cpp``."""
    for value in _VARIABLES.get(middleware, {}).values():
        return f'large images need the profile config/dds/{Path(value).name} at both ends'
    return f'large images need shared memory or larger buffers of {middleware} at both ends'


def _variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    return _VARIABLES.get(environment.get('RMW_IMPLEMENTATION') or FAST_DDS, {})
