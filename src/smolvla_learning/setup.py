# SPDX-License-Identifier: Apache-2.0
from setuptools import find_packages, setup

package_name = "smolvla_learning"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={package_name: ["py.typed", "training/architectures/*.json"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="SmolVLA for ROS 2 maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="LeRobot datasets, recording and training",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "record = smolvla_learning.record_node:main",
            "train = smolvla_learning.training:main",
        ],
        "smolvla_core.judges": [
            "classifier = smolvla_learning.plans.classifier:create",
            "vlm = smolvla_learning.plans.vlm:create",
        ],
    },
)
