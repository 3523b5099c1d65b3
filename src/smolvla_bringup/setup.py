# SPDX-License-Identifier: Apache-2.0
from glob import glob

from setuptools import find_packages, setup

package_name = "smolvla_bringup"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/launch", glob("launch/*.launch.py")),
        (f"share/{package_name}/config", glob("config/*")),
        # Sourced with the workspace, as ros2cli's.
        (f"share/{package_name}/environment", glob("completion/*")),
        ("bin", ["bin/smolvla"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="SmolVLA for ROS 2 maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="List of nodes, parameter and launch files, starter and demo",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "smolvla = smolvla_bringup.cli:main",
            "start = smolvla_bringup.cli:start",
            "demo = smolvla_bringup.cli:demo",
            "leader_node = smolvla_bringup.leader_node:main",
        ],
    },
)
