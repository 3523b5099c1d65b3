# SPDX-License-Identifier: Apache-2.0
"""Expansion of the xacro files and forward kinematics of what comes out, without ROS."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xacro
from smolvla_sim.world.kinematics import rotation_about, rotation_rpy

URDF = Path(__file__).resolve().parent.parent / "urdf"


class Description:
    """An expanded URDF."""

    def __init__(self, text):
        self.text = text
        self.root = ElementTree.fromstring(text)
        self.links = {link.get("name"): link for link in self.root.findall("link")}
        self.joints = {joint.get("name"): joint for joint in self.root.findall("joint")}

    def poses(self, positions):
        """Return (4, 4) of every link in the root link for named joint positions, radians."""
        poses = {}
        children = {joint.find("child").get("link") for joint in self.joints.values()}
        (root,) = self.links.keys() - children
        poses[root] = np.eye(4)
        waiting = list(self.joints.values())
        while waiting:
            joint = waiting.pop(0)
            parent = joint.find("parent").get("link")
            if parent not in poses:
                waiting.append(joint)
                continue
            origin = joint.find("origin")
            step = np.eye(4)
            step[:3, :3] = rotation_rpy(*numbers(origin.get("rpy")))
            step[:3, 3] = numbers(origin.get("xyz"))
            if joint.get("type") == "revolute":
                axis = numbers(joint.find("axis").get("xyz"))
                step[:3, :3] @= rotation_about(axis, positions.get(joint.get("name"), 0.0))
            poses[joint.find("child").get("link")] = poses[parent] @ step
        return poses


def numbers(text):
    return np.array(text.split(), dtype=float)


@pytest.fixture(scope="session")
def expand():
    def expand_file(file="so100.urdf.xacro", **arguments):
        document = xacro.process_file(str(URDF / file), mappings=arguments)
        return Description(document.toxml())

    return expand_file


@pytest.fixture(scope="session", params=["so100", "so101"])
def arm(request, expand):
    """Name and description of an arm as the simulation has it."""
    return request.param, expand(model=request.param, hardware="sim")
