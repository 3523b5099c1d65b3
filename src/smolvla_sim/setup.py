# SPDX-License-Identifier: Apache-2.0
"""Installs the simulation: package, console scripts and policy backend."""

from setuptools import find_packages, setup

PACKAGE = "smolvla_sim"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={PACKAGE: ["py.typed", "checkpoints/**/*", "world/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    install_requires=["setuptools", "gymnasium", "mujoco", "numpy", "scipy", "tqdm"],
    zip_safe=False,
    maintainer="SmolVLA for ROS 2 maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    description="MuJoCo simulation of the SO-100 and SO-101 with a scripted expert.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "human_node = smolvla_sim.human:main",
            "sim_node = smolvla_sim.node:main",
            "record_dataset = smolvla_sim.demonstrations.record_dataset:main",
        ],
        "smolvla_policy.backends": ["scripted = smolvla_sim.expert.settings:create"],
    },
)
