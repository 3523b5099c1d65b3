#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in the workspace of the image: ROS 2, the Python packages, our nodes.
set -eo pipefail # not -u: the set-up files of ROS 2 read unset variables

if [ -n "${ROS_DISTRO-}" ] && [ -e "/opt/ros/$ROS_DISTRO/setup.bash" ]; then
  # shellcheck source=/dev/null
  . "/opt/ros/$ROS_DISTRO/setup.bash"
fi
# shellcheck source=/dev/null
. /opt/smolvla/env.sh
exec "$@"
