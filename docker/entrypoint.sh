#!/bin/bash
# Runs a command where ROS and this package are found.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"
