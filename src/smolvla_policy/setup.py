# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = "smolvla_policy"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="SmolVLA for ROS 2 maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="SmolVLA, LeRobot checkpoints and the policy node",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "policy_node = smolvla_policy.policy_node:main",
            "check = smolvla_policy.checks:main",
        ],
        "smolvla_policy.backends": [
            "smolvla = smolvla_policy.backends.smolvla_settings:create",
        ],
    },
)
