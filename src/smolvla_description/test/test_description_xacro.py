# SPDX-License-Identifier: Apache-2.0
"""The xacro files expand for every argument and refuse what they do not know."""

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import xacro
from smolvla_sim.node.messages import camera_frame
from smolvla_sim.world.arm import JOINT_NAMES, arm_spec
from smolvla_sim.world.scene import CAMERAS
from smolvla_sim.world.simulation import HOME

PACKAGE = Path(__file__).resolve().parent.parent
DOCS = PACKAGE.parent.parent / "docs/reference"
ARM_LINKS = {
    "base_link",
    "shoulder_link",
    "upper_arm_link",
    "lower_arm_link",
    "wrist_link",
    "gripper_link",
    "moving_jaw_link",
    "gripper_frame_link",
}


def documented(heading):
    """First column of the table below a heading of the page about the hardware."""
    page = (DOCS / "hardware_parameters.md").read_text()
    section = page.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def check_tree(description):
    """Every name is there once and all links hang on one root; returns the root."""
    for tag in ("link", "joint"):
        names = Counter(element.get("name") for element in description.root.findall(tag))
        assert max(names.values()) == 1, names
    children = [joint.find("child").get("link") for joint in description.joints.values()]
    parents = {joint.find("parent").get("link") for joint in description.joints.values()}
    assert len(children) == len(set(children))
    assert parents | set(children) == set(description.links)
    (root,) = set(description.links) - set(children)
    # With one parent each and one root, reaching all links means that there is no ring.
    assert set(description.poses({})) == set(description.links)
    return root


@pytest.mark.parametrize(
    ("model", "hardware", "prefix", "parent", "cameras"),
    itertools.product(
        ("so100", "so101"),
        ("real", "mock", "sim"),
        ("", "left_"),
        ("world", "table"),
        ("true", "false"),
    ),
)
def test_every_combination_expands(expand, model, hardware, prefix, parent, cameras):
    description = expand(
        model=model, hardware=hardware, prefix=prefix, parent=parent, cameras=cameras
    )
    assert check_tree(description) == parent
    own = set(description.links) - {parent}
    assert all(name.startswith(prefix) for name in own | set(description.joints))
    links = {name.removeprefix(prefix) for name in own}
    expected = set(CAMERAS) if hardware == "sim" else {"top", "side", "wrist"}
    frames = {camera_frame(name) for name in expected} | {
        f"{name}_camera_link" for name in expected
    }
    assert links == ARM_LINKS | (frames if cameras == "true" else set())
    moving = [
        name.removeprefix(prefix)
        for name, joint in description.joints.items()
        if joint.get("type") == "revolute"
    ]
    assert moving == list(JOINT_NAMES)
    tags = description.root.findall("ros2_control")
    assert len(tags) == (hardware != "sim")
    for tag in tags:
        assert tag.get("name") == f"{prefix}so100"
        assert [joint.get("name") for joint in tag.findall("joint")] == [
            prefix + name for name in JOINT_NAMES
        ]


def test_real_hardware_has_what_its_page_lists(expand):
    description = expand(
        hardware="real",
        prefix="left_",
        port="/dev/serial/by-id/arm",
        calibration_file="/arm.json",
        calibration_id="007",
        write_calibration="true",
        on_stop="torque_off",
        leader="true",
    )
    (tag,) = description.root.findall("ros2_control")
    assert tag.get("type") == "system"
    assert tag.findtext("hardware/plugin") == "so100_hardware/SO100System"
    values = {param.get("name"): param.text for param in tag.findall("hardware/param")}
    assert values == {
        "port": "/dev/serial/by-id/arm",
        "calibration_file": "/arm.json",
        "calibration_id": "007",
        "write_calibration": "true",
        "on_stop": "torque_off",
        "leader": "true",
        "joint_prefix": "left_",
    }
    assert set(values) <= set(documented("The bus"))
    states = documented("Interfaces")
    for index, joint in enumerate(tag.findall("joint")):
        assert [(p.get("name"), p.text) for p in joint.findall("param")] == [
            ("id", str(index + 1))
        ]
        assert [i.get("name") for i in joint.findall("command_interface")] == ["position"]
        assert [i.get("name") for i in joint.findall("state_interface")] == states


def test_real_hardware_leaves_out_what_is_not_given(expand):
    (tag,) = expand().root.findall("ros2_control")
    values = {param.get("name"): param.text for param in tag.findall("hardware/param")}
    assert values == {"port": "/dev/ttyACM0", "write_calibration": "false"}


@pytest.mark.parametrize("model", ["so100", "so101"])
def test_mock_hardware_starts_where_the_simulation_does(expand, model):
    (tag,) = expand(model=model, hardware="mock").root.findall("ros2_control")
    assert tag.findtext("hardware/plugin") == "mock_components/GenericSystem"
    for joint, home, spec in zip(tag.findall("joint"), HOME, arm_spec(model).joints, strict=True):
        assert joint.find("param") is None
        start = {
            state.get("name"): float(state.findtext("param"))
            for state in joint.findall("state_interface")
        }
        assert start == {"position": home, "velocity": 0.0, "effort": 0.0}
        assert spec.lower < start["position"] < spec.upper


def test_the_arm_stands_where_it_is_mounted(expand):
    description = expand(xyz="0.1 -0.2 0.3", rpy="0 0 1.5", parent="table", prefix="a_")
    mount = description.joints["a_mount_joint"]
    assert mount.find("parent").get("link") == "table"
    assert mount.find("child").get("link") == "a_base_link"
    assert mount.find("origin").attrib == {"xyz": "0.1 -0.2 0.3", "rpy": "0 0 1.5"}


def test_cameras_can_be_moved(expand):
    description = expand(
        top_camera_xyz="1 2 3",
        side_camera_rpy="0 0 1e-1",
        wrist_camera_xyz="0 0 -0.5",
    )
    at = {
        name: description.joints[f"{name}_camera_joint"].find("origin").attrib
        for name in ("top", "side", "wrist")
    }
    assert at["top"]["xyz"] == "1 2 3"
    assert at["side"]["rpy"] == "0 0 1e-1"
    assert at["wrist"]["xyz"] == "0 0 -0.5"


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("model", "so102", "model:='so102' is no arm of this package; choose so100 or so101"),
        ("hardware", "foo", "hardware:='foo' is unknown; choose real, mock or sim"),
        ("hardware", "", "hardware:='' is unknown"),
        ("cameras", "maybe", "cameras:='maybe' must be true or false"),
        ("on_stop", "limp", "on_stop:='limp' is unknown; choose hold or torque_off"),
        ("write_calibration", "yes", "write_calibration:='yes' must be true or false"),
        ("xyz", "0 0", "xyz:='0 0' must be three numbers"),
        ("rpy", "0 0 up", "rpy:='0 0 up' must be three numbers"),
        ("wrist_camera_rpy", "1", "wrist_camera_rpy:='1' must be three numbers"),
    ],
)
def test_unknown_values_are_refused_with_words(expand, argument, value, words):
    with pytest.raises(xacro.XacroException, match=re.escape(words)):
        expand(**{argument: value})


@pytest.mark.parametrize("hardware", ["real", "mock", "sim"])
@pytest.mark.parametrize("model", ["so100", "so101"])
def test_two_arms(expand, model, hardware):
    description = expand(
        "two_arms.urdf.xacro", model=model, hardware=hardware, right_calibration_id="02"
    )
    assert check_tree(description) == "world"
    for side in ("left_", "right_"):
        assert {side + link for link in ARM_LINKS} <= set(description.links)
        assert {side + joint for joint in JOINT_NAMES} <= set(description.joints)
        assert side + camera_frame("wrist") in description.links
    assert camera_frame("top") in description.links
    poses = description.poses({})
    apart = poses["left_gripper_frame_link"] - poses["right_gripper_frame_link"]
    assert apart[:3, 3] == pytest.approx([0.0, 0.4, 0.0])
    tags = description.root.findall("ros2_control")
    names = [tag.get("name") for tag in tags]
    assert names == ([] if hardware == "sim" else ["left_so100", "right_so100"])
    for tag in tags:
        assert all(joint.get("name") in description.joints for joint in tag.findall("joint"))
    if hardware == "real":
        values = [{p.get("name"): p.text for p in tag.findall("hardware/param")} for tag in tags]
        assert [v["joint_prefix"] for v in values] == ["left_", "right_"]
        assert [v["port"] for v in values] == ["/dev/ttyACM0", "/dev/ttyACM1"]
        assert [v["calibration_id"] for v in values] == ["left", "02"]


def test_the_example_of_the_page_expands(tmp_path):
    """What docs/reference/description.md shows for an own URDF is a robot."""
    page = (DOCS / "description.md").read_text()
    (example,) = [
        block for block in re.findall(r"```xml\n(.*?)```", page, re.S) if "<robot" in block
    ]
    file = tmp_path / "own.urdf.xacro"
    file.write_text(example.replace("$(find smolvla_description)", str(PACKAGE)))
    text = xacro.process_file(str(file)).toxml()
    assert "gripper_frame_link" in text
    assert "so100_hardware/SO100System" in text


def test_the_page_names_every_argument():
    page = (DOCS / "description.md").read_text()
    source = (PACKAGE / "urdf/so100.urdf.xacro").read_text()
    for name, default in re.findall(r'<xacro:arg name="(\w+)" default="(.*?)"/>', source):
        row = rf"^\| `{name}` \| {re.escape(f'`{default}`' if default else 'empty')} \|"
        assert re.search(row, page, re.MULTILINE), f"{name}: {default}"
