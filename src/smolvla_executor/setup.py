# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = "smolvla_executor"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/config", ["config/joy_map.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="SmolVLA for ROS 2 maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="Executor: runs action chunks at a fixed rate, without PyTorch",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "executor_node = smolvla_executor.executor_node:main",
            "plan_node = smolvla_executor.plan_node:main",
            "rerun_node = smolvla_executor.rerun_node:main",
            "teleop_node = smolvla_executor.teleop_node:main",
            "visualization_node = smolvla_executor.visualization_node:main",
        ],
    },
)
