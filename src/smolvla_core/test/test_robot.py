"""Robot files: what they say, how they build on each other, and what is wrong with them."""

import numpy as np
import pytest
from smolvla_core.robot import SHIPPED, Output, RobotError, StateTopic, load_robot

SO100 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@pytest.fixture
def robot(tmp_path):
    def load(text, name="arm.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load_robot(str(path))

    return load


@pytest.mark.parametrize("name", SHIPPED)
def test_a_fully_open_and_a_fully_closed_gripper_are_within_the_limits(name):
    robot = load_robot(name)
    grippers = [joint for joint in robot.moving if joint.role == "gripper"]
    assert grippers
    for joint in grippers:
        # where so100_hardware has them by default
        assert joint.gripper_range == (-0.174, 1.75)
        assert joint.lower <= -0.174 < 1.75 <= joint.upper


@pytest.mark.parametrize("name", ["so100", "so101"])
def test_an_so_arm_has_lerobots_joints_in_lerobots_order(name):
    robot = load_robot(name)
    assert robot.joint_names == SO100
    assert [joint.feature for joint in robot.joints] == [f"{joint}.pos" for joint in SO100]
    assert [joint.role for joint in robot.joints] == ["joint"] * 5 + ["gripper"]
    assert robot.outputs == (Output("forward", "arm_controller/commands", SO100),)
    assert robot.joint_states == (StateTopic("joint_states"),)
    assert robot.model == name
    assert robot.source == name


def test_two_arms_are_one_robot_with_a_namespace_and_a_prefix_each():
    robot, one = load_robot("two_so101"), load_robot("so101")
    assert robot.joint_names == tuple(f"{side}_{j}" for side in ("left", "right") for j in SO100)
    assert [joint.kind for joint in robot.joints] == [*SO100, *SO100]
    assert {joint.prefix for joint in robot.joints} == {"left_", "right_"}
    np.testing.assert_array_equal(robot.lower, np.tile(one.lower, 2))
    np.testing.assert_array_equal(robot.upper, np.tile(one.upper, 2))
    np.testing.assert_array_equal(robot.speed, np.tile(one.speed, 2))
    assert robot.joint_states[1] == StateTopic("right/joint_states", "right_")
    left, right = robot.outputs
    assert left.topic == "left/arm_controller/commands"
    assert left.names == list(SO100)
    assert right.joints == robot.joint_names[6:]


def test_names_of_the_topics_are_mapped_to_lerobots(robot):
    arm = robot(
        """
        joints:
          1: {lerobot: shoulder_pan, lower: -2, upper: 2}
          tool: {lerobot: gripper, lower: 0, upper: 1.2}
        """
    )
    assert arm.joint_names == ("1", "tool")
    assert [joint.feature for joint in arm.joints] == ["shoulder_pan.pos", "gripper.pos"]
    assert arm.joints[1].role == "gripper"
    assert arm.joints[1].gripper_range == (0.0, 1.2)


def test_a_gripper_of_any_name_is_one_by_its_role(robot):
    arm = robot("joints: {claw: {role: gripper, lower: 0, upper: 1, closed: 0.9, open: 0.1}}")
    assert arm.joints[0].kind == "gripper"
    assert arm.joints[0].gripper_range == (0.9, 0.1)


def test_what_a_joint_is_that_nobody_knows_is_asked_for(robot):
    with pytest.raises(RobotError, match=r"arm\.yaml: joints: claw: role: .*say what it is"):
        robot("joints: {claw: {lower: 0, upper: 1}}")


def test_velocities_are_no_positions(robot):
    arm = robot("base: so100\njoints: {x.vel: {}, spin: {role: velocity, lerobot: theta.vel}}")
    assert arm.joint_names == SO100
    assert [joint.feature for joint in arm.joints[6:]] == ["x.vel", "theta.vel"]
    with pytest.raises(RobotError, match=r"joints: x\.vel: lower: a velocity has none"):
        robot("base: so100\njoints: {x.vel: {lower: 1}}")


def test_actions_may_be_increments_or_have_units_of_their_own(robot):
    robot(
        """
        joints:
          x: {role: joint, lower: 0, upper: 1, increment: 0.01}
          gripper: {lower: 0, upper: 1, actions: [1, -1]}
        """
    )
    two = robot("arms: {left: ./arm.yaml, right: so100}", "two.yaml")
    assert two.increments == ("left_x",)
    assert two.joints[1].actions == (1.0, -1.0)
    assert [joint.positional for joint in two.joints] == [False] * 2 + [True] * 6


def test_a_file_says_only_what_differs_from_its_base(robot, tmp_path):
    robot(
        "base: so101\njoints: {elbow_flex: {upper: 1.2}}\ncalibration: cal/left.json\n"
        "leader_calibration: cal/leader.json",
        "mine.yaml",
    )
    arm = robot(
        """
        base: mine.yaml
        joints: {wrist_roll: null, gripper: {closed: 0.1}}
        cameras:
          - {name: top, topic: /bench/color, transport: compressed}
          - side
        """
    )
    assert arm.joint_names == tuple(name for name in SO100 if name != "wrist_roll")
    assert arm.outputs[0].joints == arm.joint_names
    assert (arm.joints[2].lower, arm.joints[2].upper) == (-1.69, 1.2)
    assert arm.joints[-1].gripper_range == (0.1, 1.75)
    assert arm.calibration == {"": str(tmp_path / "cal/left.json")}
    assert arm.leader_calibration == str(tmp_path / "cal/leader.json")
    assert arm.camera("top").topic == "/bench/color"
    assert arm.camera("side").topic == "camera/side/image_raw"
    assert arm.camera("other").topic == "camera/other/image_raw"


def test_arm_and_gripper_may_have_outputs_of_their_own(robot):
    arm = robot(
        """
        base: so101
        outputs:
          - {type: joint_trajectory, topic: arm/joint_trajectory,
             joints: [wrist_roll, wrist_flex, elbow_flex, shoulder_lift, shoulder_pan]}
          - {type: gripper_command, topic: hand/gripper_cmd, joints: [gripper], max_effort: 3}
        """
    )
    assert [output.type for output in arm.outputs] == ["joint_trajectory", "gripper_command"]
    assert arm.outputs[0].joints[0] == "wrist_roll"
    assert arm.outputs[1].max_effort == 3.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joint: {}", "no entry 'joint'; did you mean 'joints'"),
        ("[]", "not a list"),
        ("", "not nothing"),
        ("base: so10", "base: there is no robot 'so10': choose lekiwi, so100"),
        ("base: arm.yaml", "based on itself"),
        ("base: other.yaml", r"other\.yaml does not exist"),
        ("robot_type: x", "joints: name at least one"),
        ("joints: {a: {role: joint, upper: 1}}", "joints: a: lower: it is missing"),
        ("joints: {a: {role: joint, lower: 2, upper: 1}}", "joints: a: lower: 2 is not below"),
        ("joints: {a: {role: wrist, lower: 0, upper: 1}}", "joints: a: role: it is 'wrist'"),
        ("joints: {a: {role: joint, lower: .nan, upper: 1}}", "a: lower: it is nan"),
        ("joints: {a: {role: joint, lower: 0, upper: '1'}}", "a: upper: it is '1'"),
        ("joints: {a: {role: joint, lower: 0, upper: 1, increment: 0}}", "a: increment: it is 0"),
        (
            "joints: {a: {role: joint, lower: 0, upper: 1, increment: 1, actions: [0, 1]}}",
            "a: actions: with increment they are changes",
        ),
        (
            "joints: {a: {role: joint, lower: 0, upper: 1, actions: [1, 1]}}",
            "a: actions: give two different numbers",
        ),
        ("joints: {a: {role: joint, min: 0}}", "joints: a: there is no entry 'min'"),
        ("joints: {a: 3}", "joints: a: it is 3"),
        ("joints: {yes: {role: joint, lower: 0, upper: 1}}", "put it into quotes"),
        ("joints:\n  a: {}\n  a: {}", "'a' stands there twice"),
        ("base: so100\njoints: {elbow_flex: {speed: 0}}", "elbow_flex: speed: it is 0"),
        ("base: so100\njoints: {elbow_flex: {sign: 2}}", "elbow_flex: sign: it is 2"),
        ("base: so100\njoints: {elbow_flex: {open: 1}}", "elbow_flex: open: only a gripper"),
        ("base: so100\njoints: {elbow_flex: {role: gripper}}", "LeRobot's elbow_flex is a joint"),
        ("base: so100\njoints: {gripper: {role: joint}}", "LeRobot's gripper is a gripper"),
        ("base: so100\njoints: {gripper: {open: 1.9}}", "open: 1.9 is beyond lower and upper"),
        ("base: so100\njoints: {gripper: {sign: -1}}", "swap its closed and open"),
        ("base: so100\njoints: {gripper: {open: -0.174}}", "open: it is closed"),
        ("base: so100\njoints: {elbow_flex: {lerobot: gripper}}", "lerobot: 'gripper' is there"),
        ("base: so100\njoint_states: []", "joint_states: name at least one"),
        ("base: so100\njoint_states: [a, a]", "joint_states: 'a' is there twice"),
        ("base: so100\njoint_states: a b", 'joint_states: topic: it is "a b"'),
        ("base: so100\noutputs: {}", "outputs: it must be a list"),
        ("base: so100\noutputs: [{type: servo, topic: a}]", "outputs: 1: type: it is servo"),
        ("base: so100\noutputs: [{type: forward}]", 'outputs: 1: topic: it is ""'),
        (
            "base: so100\noutputs: [{type: forward, topic: a, joints: [gripper]}]",
            "none of them has the joints shoulder_pan",
        ),
        (
            "base: so100\noutputs: [{type: forward, topic: a}, "
            "{type: gripper_command, topic: b, joints: [gripper]}]",
            "joints: 'gripper' is there twice",
        ),
        ("base: so100\noutputs: [{type: gripper_command, topic: a}]", "takes one joint"),
        (
            "base: so100\noutputs: [{type: forward, topic: a, max_effort: '2'}]",
            "max_effort: it is",
        ),
        (
            "base: so100\njoint_states: [{topic: a, prefix: 3}]",
            "1: prefix: it is 3, but must",
        ),
        ("base: so100\ncalibration: {left_: a}", "no joint of LeRobot's has the prefix 'left_'"),
        ("base: so100\ncameras: [a-b]", "cameras: 1: name: it is 'a-b'"),
        ("base: so100\ncameras: [{name: a, fps: x}]", "cameras: a: fps: it is x"),
        ("base: so100\ncameras: [{name: a, fps: 0}]", "cameras: a: fps: it is 0"),
        (
            "base: so100\ncameras: [{name: a, driver: gst}]",
            "a: driver: it is gst, which is",
        ),
        (
            "base: so100\ncameras: [{name: a, driver: usb_cam}]",
            "cameras: a: device: it is missing",
        ),
        ("base: so100\ncameras: [{name: a, topic: b/compressed}]", "that of the raw images"),
        ("base: so100\ncameras: [a, a]", "cameras: name: 'a' is there twice"),
        ("arms: {left: so100}\njoints: {left_elbow_flex: {lower: 9}}", "lower: 9 is not below"),
        ("base: so100\njoints: {elbow_flx: {upper: 1}}", "elbow_flx.*did you mean 'elbow_flex'"),
        (
            "joints: {turn: {role: joint, lower: 0, upper: 1}, trun: {upper: 1}}",
            "trun: role: .*did you mean 'turn'",
        ),
        (
            "base: so100\noutputs: [{type: forward, topic: a, joints: [griper]}]",
            "no joint 'griper' with a position; did you mean 'gripper'",
        ),
        ("arms: {left: so1}", "arms: left: there is no robot 'so1'"),
        ("base: [", "is no YAML"),
    ],
)
def test_a_mistake_is_named_with_file_and_entry(robot, text, said):
    with pytest.raises(RobotError, match=rf"arm\.yaml.*{said}"):
        robot(text)


def test_a_robot_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(RobotError, match="no robot 'so102': choose lekiwi, so100, so101"):
        load_robot("so102")
    with pytest.raises(RobotError, match=r"/x\.yaml does not exist"):
        load_robot("x.yaml")
