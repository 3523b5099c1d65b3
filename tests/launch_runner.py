# SPDX-License-Identifier: Apache-2.0
"""Does what ``ros2 launch FILE name:=value …`` does, for tests that run without ros2cli."""

import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def main() -> int:
    file, *arguments = sys.argv[1:]
    values = [tuple(argument.split(":=", 1)) for argument in arguments]
    source = PythonLaunchDescriptionSource(file)
    service = LaunchService(argv=arguments)
    included = IncludeLaunchDescription(source, launch_arguments=values)
    service.include_launch_description(LaunchDescription([included]))
    return service.run()


if __name__ == "__main__":
    raise SystemExit(main())
