"""Where the package's launch and configuration files lie."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = 'lemore_ros'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def share_directory() -> Path:
    """Return the folder that holds ``launch`` and ``config``.

    That is what the ament index says, else the Python prefix that ``pip install`` wrote to, else
    the source tree.
    """
    installed = _from_ament_index() or Path(sys.prefix, 'share', PACKAGE)
    return installed if installed.is_dir() else Path(__file__).parents[1]


def shared_memory_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let Fast DDS carry camera images through shared memory.

    Its default segment is smaller than a frame. None are returned where ``environment`` names a
    profile of the user's own.
    """
    if any(environment.get(variable) for variable in PROFILE_VARIABLES):
        return {}
    profile = share_directory() / 'config' / 'dds' / 'fastdds_shared_memory.xml'
    return dict.fromkeys(PROFILE_VARIABLES, str(profile))


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
