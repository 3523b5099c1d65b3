# SPDX-License-Identifier: Apache-2.0
"""What the robot is, from one file: joints, limits, topics, outputs, calibrations, cameras.

    robot = load_robot("so100")              # one of `SHIPPED`
    robot = load_robot("~/my_arm.yaml")      # docs/reference/robot_file.md explains the entries

Policy, executor, recorder, simulation and `check` read it. Every error names the file and the
entry.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from smolvla_core.settings import (
    AnySettings,
    SettingError,
    Settings,
    instead_of,
    nearest,
    setting,
    written,
)
from smolvla_core.units.calibration import GRIPPER, LEROBOT_JOINTS

FOLDER = Path(__file__).parent / "robots"
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Names of the robots that come with the suite."""

JOINT, VELOCITY = "joint", "velocity"  # and GRIPPER
ROLES = (JOINT, GRIPPER, VELOCITY)
VELOCITY_SUFFIX = ".vel"
"""How LeRobot's names of velocities end; those of positions end in ``.pos``."""

FORWARD, TRAJECTORY = "forward", "joint_trajectory"
GRIPPER_COMMAND, FOLLOW_TRAJECTORY = "gripper_command", "follow_joint_trajectory"
OUTPUTS = (FORWARD, TRAJECTORY, GRIPPER_COMMAND, FOLLOW_TRAJECTORY)
"""How commands go out: a topic of std_msgs/Float64MultiArray, a topic of
trajectory_msgs/JointTrajectory, an action of control_msgs/GripperCommand, an action of
control_msgs/FollowJointTrajectory."""

DRIVERS = ("none", "usb_cam", "v4l2_camera")
TRANSPORTS = ("raw", "compressed")

FOREIGN = 0.5
"""A position farther than this beyond the limits comes from other units or another calibration
[rad]; what is nearer is an arm that was pushed, or one calibrated a little differently."""
_TOPIC = re.compile(r"[~/]?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_CAMERA = re.compile(r"[A-Za-z]\w*", re.ASCII)


class RobotError(ValueError):
    """A robot file cannot be used; the text names file and entry and says what to do."""


def _check_topic(name: str) -> None:
    if not _TOPIC.fullmatch(name):
        raise SettingError(
            "topic", f"is {written(name)}, but must be a name of ROS, as arm/commands"
        )


@dataclass(frozen=True)
class Joint(Settings):
    """One number of the checkpoint's state and action.

    Attributes:
        name: on the topics.
        lerobot: LeRobot's name, without ``.pos``; with the arm's prefix where there are several.
        role: ``joint``, ``gripper`` (LeRobot's 0 closed to 100 open), or ``velocity``: not a
            position, so never measured nor commanded here.
        lower: smallest position that is commanded [rad; m of a linear joint].
        upper: largest one.
    """

    name: str
    lerobot: str
    role: str
    lower: float = -math.inf
    upper: float = math.inf
    speed: float = setting(3.0, "Largest speed that is commanded [rad/s].", above=0)
    sign: int | None = setting(
        None,
        "-1 where the checkpoint counts the other way round than the topics; None: not said.",
        choices=(1, -1),
    )
    home: float | None = setting(
        None, "Position in the home pose [rad]; None: the joint stays where it is."
    )
    closed: float | None = setting(
        None, "Position of a gripper that LeRobot calls 0; None: not said, `lower`."
    )
    open: float | None = setting(None, "The one that it calls 100; None: not said, `upper`.")
    increment: float | None = setting(
        None,
        "The checkpoint's actions are no positions but changes from one row to the next, and 1 is "
        "this much [rad]; None: they are positions.",
        above=0,
    )
    actions: tuple[float, ...] = setting(
        (),
        "The checkpoint's actions for `lower` and `upper`; empty: they are in the units of its "
        "state.",
    )

    @property
    def positional(self) -> bool:
        """Whether the checkpoint's actions are positions in the units of its state."""
        return self.increment is None and not self.actions

    @property
    def kind(self) -> str:
        """Which joint of LeRobot's arms it is, without prefix; `lerobot` where it is none."""
        return GRIPPER if self.role == GRIPPER else base_name(self.lerobot)

    @property
    def prefix(self) -> str:
        """What stands before LeRobot's name of the joint: ``left_``; empty with one arm."""
        base = base_name(self.lerobot)
        return "" if base == self.lerobot else self.lerobot.removesuffix(base)

    @property
    def feature(self) -> str:
        """LeRobot's name of the number in a dataset: ``shoulder_pan.pos``, ``x.vel``."""
        return self.lerobot if self.role == VELOCITY else f"{self.lerobot}.pos"

    @property
    def gripper_range(self) -> tuple[float, float]:
        """The positions that LeRobot calls 0 and 100."""
        return (
            self.lower if self.closed is None else self.closed,
            self.upper if self.open is None else self.open,
        )


@dataclass(frozen=True)
class StateTopic(Settings):
    """A topic of sensor_msgs/JointState."""

    topic: str = setting("", "Name of the topic.")
    prefix: str = setting("", "What the names of the joints on it are without.")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_topic(self.topic)


@dataclass(frozen=True)
class Output(Settings):
    """Where commands go."""

    type: str = setting("", "Kind of message or action.", choices=OUTPUTS)
    topic: str = setting("", "Of the messages, or name of the action.")
    joints: tuple[str, ...] = setting((), "That it commands, in its order.")
    prefix: str = setting("", "What the receiver's names of the joints are without.")
    max_effort: float = setting(
        0.0, "Of a ``gripper_command`` [N m or N, as the controller has it]."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_topic(self.topic)

    @property
    def names(self) -> list[str]:
        """The receiver's names of the joints."""
        return [joint.removeprefix(self.prefix) for joint in self.joints]


@dataclass(frozen=True)
class Camera(Settings):
    """One camera."""

    name: str = setting("", "That the policy and datasets know it by.")
    topic: str = setting("", "Of its raw images; empty: ``camera/<name>/image_raw``.")
    feature: str = setting("", "The checkpoint's name of it; empty: the one that ends in `name`.")
    transport: str = setting(
        "raw", "With compressed, ``<topic>/compressed`` is listened to.", choices=TRANSPORTS
    )
    driver: str = setting(
        "none", "What the launch file starts; none: somebody else publishes.", choices=DRIVERS
    )
    device: str = setting("", "Path of the video device.")
    width: int = setting(640, "Of the images [pixels].", 16, 7680)
    height: int = setting(480, "Of the images [pixels].", 16, 4320)
    fps: int = setting(30, "Images per second [Hz].", 1, 240)
    pixel_format: str = setting("", "What the device is asked for; empty: the driver's default.")
    frame_id: str = setting("", "Of the images; empty: ``<name>_camera_optical_frame``.")


@dataclass(frozen=True)
class Robot:
    """What the robot is.

    Attributes:
        source: name of the robot that comes with the suite, or path of the file.
        robot_type: in datasets.
        model: arm of the simulation and of the URDF: so100, so101; empty for another.
        joints: in the order of the checkpoint's state and action.
        joint_states: topics subscribed to; their joints are merged.
        outputs: topics and actions of the commands.
        calibration: prefix of an arm's joints -> LeRobot's calibration: path or id.
        leader_calibration: that of the leader arm; empty: not said.
        cameras: that there are; empty: those of the checkpoint, on their usual topics.
    """

    source: str
    robot_type: str
    joints: tuple[Joint, ...]
    model: str = ""
    joint_states: tuple[StateTopic, ...] = (StateTopic("joint_states"),)
    outputs: tuple[Output, ...] = ()
    calibration: Mapping[str, str] = field(default_factory=dict)
    leader_calibration: str = ""
    cameras: tuple[Camera, ...] = ()

    @property
    def moving(self) -> tuple[Joint, ...]:
        """The joints that have positions; what is measured and commanded."""
        return tuple(joint for joint in self.joints if joint.role != VELOCITY)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of `moving` on the topics, the order of all positions."""
        return tuple(joint.name for joint in self.moving)

    @property
    def increments(self) -> tuple[str, ...]:
        """Names of the joints whose actions are increments in the checkpoint."""
        return tuple(joint.name for joint in self.moving if joint.increment is not None)

    @property
    def lower(self) -> NDArray[np.float64]:
        """(moving joints,) lower limits [rad]."""
        return np.array([joint.lower for joint in self.moving])

    @property
    def upper(self) -> NDArray[np.float64]:
        """(moving joints,) upper limits [rad]."""
        return np.array([joint.upper for joint in self.moving])

    def foreign_problem(
        self, positions: NDArray[np.float64], joints: NDArray[np.intp] | None = None
    ) -> str:
        """Say why positions are in other units or of another calibration; empty when they fit.

        Args:
            positions: (..., joints) [rad], finite, of an arm or of a recording.
            joints: which of the moving joints they are of; None: of all.
        """
        index = np.arange(len(self.joint_names)) if joints is None else joints
        low, high = self.lower[index], self.upper[index]
        beyond = np.maximum(low - positions, positions - high).reshape(-1, len(index))
        row, column = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        if beyond[row, column] <= FOREIGN:
            return ""
        value = positions.reshape(-1, len(index))[row, column]
        return (
            f"{self.joint_names[index[column]]} at {value:.2f} rad is {beyond[row, column]:.2f} "
            f"rad beyond its limits, {low[column]:.2f} to {high[column]:.2f} rad: check the units "
            "(degrees taken for radians?) and the calibration"
        )

    @property
    def speed(self) -> NDArray[np.float64]:
        """(moving joints,) largest speeds [rad/s]."""
        return np.array([joint.speed for joint in self.moving])

    @property
    def home(self) -> NDArray[np.float64]:
        """(moving joints,) the home pose [rad]; NaN where a joint has none."""
        return np.array(
            [math.nan if joint.home is None else joint.home for joint in self.moving], dtype=float
        )

    def chosen_outputs(self, output: str) -> tuple[Output, ...]:
        """Return where commands go: `outputs`, or the one that the parameter ``output`` names."""
        if not output:
            return self.outputs
        topic = "joint_trajectory" if output == TRAJECTORY else "commands"
        return (Output(output, f"arm_controller/{topic}", self.joint_names),)

    def camera(self, name: str) -> Camera:
        """Return the camera `name`, with its usual topic where the file does not have it."""
        for camera in self.cameras:
            if camera.name == name:
                return replace(camera, topic=camera.topic or f"camera/{name}/image_raw")
        return Camera(name, f"camera/{name}/image_raw")


def base_name(lerobot: str) -> str:
    """Return which joint of LeRobot's arms a LeRobot name means: ``left_gripper`` is a gripper.

    The name itself if it is none of theirs. It is for LeRobot's own names, not for those on the
    topics: what these mean is said in the robot file.
    """
    for name in LEROBOT_JOINTS:
        if lerobot == name or lerobot.endswith(("_" + name, "/" + name)):
            return name
    return lerobot


def load_robot(robot: str) -> Robot:
    """Read a robot file.

    Args:
        robot: one of `SHIPPED`, or the path of a file.

    Raises:
        RobotError: there is no such robot, or something in its file is wrong.
    """
    path = _find(robot, Path())
    content = _read(path, ())
    return _build(content, path, robot if robot in SHIPPED else str(path))


def _find(robot: str, folder: Path) -> Path:
    """Return the path of a robot's file; relative paths are seen from `folder`."""
    if robot in SHIPPED:
        return FOLDER / f"{robot}.yaml"
    path = folder / Path(robot).expanduser()
    if path.is_file():
        return path.resolve()
    if robot.endswith((".yaml", ".yml")) or "/" in robot:
        raise RobotError(f"robot file {path.absolute()} does not exist")
    raise RobotError(
        f"there is no robot '{robot}': choose {', '.join(SHIPPED)}, or give the path of a robot "
        "file (.yaml)"
    )


class _Loader(yaml.SafeLoader):
    """Refuses keys that are there twice: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(key.value for key, _ in node.value)
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            line = node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(
                None, None, f"'{twice[0]}' stands there twice, from line {line} on"
            )
        return super().construct_mapping(node, deep)


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return the content of a file, completed by what it is based on."""
    if path in seen:
        raise RobotError(f"{path}: base: it is based on itself")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise RobotError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RobotError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        what = "nothing" if content is None else f"a {type(content).__name__}"
        raise RobotError(f"{path}: it must hold entries such as 'joints:', not {what}")
    own = _known(content, _ENTRIES, str(path))
    calibration = _calibration(own.get("calibration", {}), path)
    if calibration:
        own["calibration"] = calibration
    if "leader_calibration" in own:
        own["leader_calibration"] = _calibration_name(
            own["leader_calibration"], f"{path}: leader_calibration", path
        )
    whole: dict[str, Any] = {}
    arms = _mapping(own.pop("arms", {}), f"{path}: arms")
    if arms:
        whole = _arms(arms, path, seen)
    if "base" in own:
        base = own.pop("base")
        _is(base, str, f"{path}: base", "a robot or a file")
        try:
            whole = _read(_find(base, path.parent), (*seen, path))
        except RobotError as error:
            raise RobotError(f"{path}: base: {error}") from error
    joints = _joints_of(whole, own, path)
    return {**whole, **own, **({"joints": joints} if joints else {})}


def _joints_of(whole: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the entries of the joints: those of the base, changed and completed."""
    joints = {name: dict(entry) for name, entry in whole.get("joints", {}).items()}
    for name, entry in _mapping(own.get("joints", {}), f"{path}: joints").items():
        if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
            raise RobotError(f"{path}: joints: a name is {name!r}: put it into quotes")
        where = f"{path}: joints: {name}"
        if entry is None and name in joints:
            del joints[name]
            continue
        joints[str(name)] = {**joints.get(str(name), {}), **_mapping(entry, where)}
    return joints


def _arms(arms: Mapping[str, Any], path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return the content that several arms make, each in a namespace and with a prefix."""
    whole: dict[str, Any] = {"joints": {}, "calibration": {}}
    whole |= {"joint_states": [], "outputs": [], "cameras": []}
    for name, robot in arms.items():
        where = f"{path}: arms: {name}"
        if not isinstance(robot, str) or not _CAMERA.fullmatch(str(name)):
            raise RobotError(f"{where}: write name: robot, as in arms: {{left: so101}}")
        try:
            file = _find(robot, path.parent)
            arm = _build(_read(file, (*seen, path)), file, robot)
        except RobotError as error:
            raise RobotError(f"{where}: {error}") from error
        for joint in arm.joints:
            values = {key: value for key, value in vars(joint).items() if key != "name"}
            whole["joints"][f"{name}_{joint.name}"] = {
                key: value
                for key, value in {**values, "lerobot": f"{name}_{joint.lerobot}"}.items()
                if value not in (None, ())
                if not (joint.role == VELOCITY and key in ("lower", "upper", "speed"))
            }
        for state in arm.joint_states:
            whole["joint_states"].append(
                {"topic": f"{name}/{state.topic}", "prefix": f"{name}_{state.prefix}"}
            )
        for output in arm.outputs:
            entry = {
                "topic": f"{name}/{output.topic}",
                "joints": [f"{name}_{joint}" for joint in output.joints],
                "prefix": f"{name}_{output.prefix}",
            }
            whole["outputs"].append({**vars(output), **entry})
        for camera in arm.cameras:
            entry = {"name": f"{name}_{camera.name}"}
            if camera.driver == "none":
                entry["topic"] = f"{name}/{arm.camera(camera.name).topic}"
            whole["cameras"].append({**vars(camera), **entry})
        for prefix, source in arm.calibration.items():
            whole["calibration"][f"{name}_{prefix}"] = source
    return {key: value for key, value in whole.items() if value}


_ENTRIES = [
    "base",
    "arms",
    "robot_type",
    "model",
    "joints",
    "joint_states",
    "outputs",
    "calibration",
    "leader_calibration",
    "cameras",
]


def _build(content: Mapping[str, Any], path: Path, source: str) -> Robot:
    """Return the robot that the whole content describes."""
    if not content.get("joints"):
        raise RobotError(f"{path}: joints: name at least one, or begin with 'base: so100'")
    joints = tuple(
        _joint(name, entry, f"{path}: joints: {name}", set(content["joints"]) - {name})
        for name, entry in content["joints"].items()
    )
    for joint in joints:
        lacking = [end for end in ("lower", "upper") if math.isinf(getattr(joint, end))]
        if lacking and joint.role != VELOCITY:
            raise RobotError(
                f"{path}: joints: {joint.name}: {lacking[0]}: it is missing: nothing is commanded "
                "without limits [rad]"
            )
    _once([joint.lerobot for joint in joints], f"{path}: joints: lerobot")
    robot = Robot(
        source,
        robot_type=_text(content.get("robot_type", path.stem), f"{path}: robot_type"),
        model=_text(content.get("model", ""), f"{path}: model"),
        joints=joints,
        joint_states=_states(content.get("joint_states", "joint_states"), f"{path}: joint_states"),
        calibration=content.get("calibration", {}),
        leader_calibration=content.get("leader_calibration", ""),
        cameras=_cameras(content.get("cameras", []), f"{path}: cameras"),
    )
    if not robot.moving:
        raise RobotError(f"{path}: joints: all are velocities; here positions are commanded")
    prefixes = {joint.prefix for joint in robot.moving}
    for prefix in set(robot.calibration) - prefixes:
        raise RobotError(
            f"{path}: calibration: no joint of LeRobot's has the prefix '{prefix}'; the "
            f"prefixes are {', '.join(map(repr, sorted(prefixes)))}"
        )
    outputs = content.get("outputs", [{"type": FORWARD, "topic": "arm_controller/commands"}])
    return replace(robot, outputs=_outputs(outputs, robot, f"{path}: outputs"))


def _joint(name: str, entry: Any, where: str, others: Iterable[str] = ()) -> Joint:
    """Return a joint; `others` are names that may be meant by `name`."""
    values = _known(entry, _names(Joint)[1:], where)
    lerobot = _text(str(values.get("lerobot", name)), f"{where}: lerobot").removesuffix(".pos")
    kind = base_name(lerobot)
    usual = GRIPPER if kind == GRIPPER else JOINT if kind in LEROBOT_JOINTS else ""
    usual = VELOCITY if lerobot.endswith(VELOCITY_SUFFIX) else usual
    role = values.pop("role", usual)
    if role not in ROLES:
        what = f"it is {role!r}" if role else f"'{lerobot}' is no joint of LeRobot's arms"
        meant = "" if role else nearest(lerobot, [*LEROBOT_JOINTS, *others])
        hint = f"; did you mean '{meant}'? If not" if meant else ""
        raise RobotError(
            f"{where}: role: {what}{hint}: say what it is, joint, gripper or velocity; or with "
            f"lerobot which of {', '.join(LEROBOT_JOINTS)} it is"
        )
    values["lerobot"] = lerobot
    for key in ("lower", "upper"):
        if key in values:
            values[key] = _number(values[key], f"{where}: {key}")
    joint = _made(Joint, {"name": name, "role": role, **values}, where)
    problem = _joint_problem(joint, values)
    if problem:
        raise RobotError(f"{where}: {problem}")
    return joint


def _joint_problem(joint: Joint, given: Collection[str]) -> str:
    """Return what is wrong with a joint; empty when nothing is."""
    if joint.role == VELOCITY:
        extra = [key for key in given if key != "lerobot"]
        return f"{extra[0]}: a velocity has none" if extra else ""
    base = base_name(joint.lerobot)
    role = GRIPPER if base == GRIPPER else JOINT
    if base in LEROBOT_JOINTS and joint.role != role:
        return f"role: it is {joint.role}, but LeRobot's {joint.lerobot} is a {role}"
    if joint.lower >= joint.upper:
        return f"lower: {joint.lower:g} is not below upper, {joint.upper:g}"
    if joint.home is not None and not joint.lower <= joint.home <= joint.upper:
        return (
            f"home: {joint.home:g} is beyond lower and upper, {joint.lower:g} to {joint.upper:g}"
        )
    if joint.actions:
        if joint.increment is not None:
            return "actions: with increment they are changes, so leave one of both out"
        if len(joint.actions) != 2 or joint.actions[0] == joint.actions[1]:
            return "actions: give two different numbers, those for lower and for upper"
    ends = {"closed": joint.closed, "open": joint.open}
    if joint.role == JOINT:
        named = [key for key, value in ends.items() if value is not None]
        return f"{named[0]}: only a gripper has it: add role: gripper" if named else ""
    if joint.sign == -1:
        return "sign: to reverse a gripper, swap its closed and open"
    for key, value in ends.items():
        if value is not None and not joint.lower <= value <= joint.upper:
            return (
                f"{key}: {value:g} is beyond lower and upper, {joint.lower:g} to "
                f"{joint.upper:g}: the gripper would never get there"
            )
    if joint.gripper_range[0] == joint.gripper_range[1]:
        return f"open: it is closed, {joint.gripper_range[0]:g}, too"
    return ""


def _states(value: Any, where: str) -> tuple[StateTopic, ...]:
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise RobotError(f"{where}: name at least one topic")
    topics = []
    for number, entry in enumerate(entries, start=1):
        here = f"{where}: {number}" if isinstance(value, list) else where
        topics.append(
            _made(StateTopic, {"topic": entry} if isinstance(entry, str) else entry, here)
        )
    _once([state.topic for state in topics], where)
    return tuple(topics)


def _outputs(value: Any, robot: Robot, where: str) -> tuple[Output, ...]:
    """Return the outputs, in which each joint that moves must be once."""
    if not isinstance(value, list) or not value:
        raise RobotError(f"{where}: it must be a list, as in - {{type: forward, topic: commands}}")
    outputs = []
    for number, entry in enumerate(value, start=1):
        here = f"{where}: {number}"
        values = _known(entry, _names(Output), here)
        prefix = str(values.get("prefix", ""))
        usual = [name for name in robot.joint_names if name.startswith(prefix)]
        joints = tuple(map(str, _list(values.get("joints", usual), f"{here}: joints")))
        strange = [name for name in joints if name not in robot.joint_names]
        if strange:
            raise RobotError(
                f"{here}: joints: there is no joint '{strange[0]}' with a position; "
                f"{instead_of(strange[0], robot.joint_names)}"
            )
        if not joints:
            raise RobotError(f"{here}: joints: none")
        output = _made(Output, {**values, "joints": joints}, here)
        if output.type == GRIPPER_COMMAND and len(joints) != 1:
            raise RobotError(f"{here}: joints: {GRIPPER_COMMAND} takes one joint, not {joints}")
        outputs.append(output)
    _once([output.topic for output in outputs], f"{where}: topic")
    commanded = [name for output in outputs for name in output.joints]
    _once(commanded, f"{where}: joints")
    uncommanded = [name for name in robot.joint_names if name not in commanded]
    if uncommanded:
        raise RobotError(f"{where}: none of them has the joints {', '.join(uncommanded)}")
    return tuple(outputs)


def _calibration(value: Any, path: Path) -> dict[str, str]:
    """Return prefix -> calibration, with whole paths."""
    where = f"{path}: calibration"
    entries = {"": value} if isinstance(value, str) else _mapping(value, where)
    found = {}
    for prefix, source in entries.items():
        text = _calibration_name(source, f"{where}: {prefix}" if prefix else where, path)
        if text:
            found[str(prefix)] = text
    return found


def _calibration_name(value: Any, where: str, path: Path) -> str:
    """Return an id, or a whole path, in the file `path`."""
    text = _text(value, where)
    if "/" in text or text.endswith(".json"):
        text = str((path.parent / Path(text).expanduser()).resolve())
    return text


def _cameras(value: Any, where: str) -> tuple[Camera, ...]:
    cameras = []
    for number, entry in enumerate(_list(value, where), start=1):
        here = f"{where}: {number}"
        values = {"name": entry} if isinstance(entry, str) else _mapping(entry, here)
        name = values.get("name")
        if not isinstance(name, str) or not _CAMERA.fullmatch(name):
            raise RobotError(f"{here}: name: it is {name!r}, but must be letters, digits and _")
        here = f"{where}: {name}"
        camera = _made(Camera, values, here)
        _check_camera(camera, here)
        cameras.append(camera)
    _once([camera.name for camera in cameras], f"{where}: name")
    _once([camera.device for camera in cameras if camera.device], f"{where}: device")
    _once([camera.feature for camera in cameras if camera.feature], f"{where}: feature")
    return tuple(cameras)


def _check_camera(camera: Camera, where: str) -> None:
    if camera.topic:
        _made(StateTopic, {"topic": camera.topic}, where)
    if camera.topic.endswith("/compressed"):
        raise RobotError(
            f"{where}: topic: give that of the raw images; 'transport: compressed' adds "
            "/compressed"
        )
    if camera.driver != "none" and not camera.device:
        raise RobotError(
            f"{where}: device: it is missing; ls /dev/v4l/by-id/ lists names that stay when "
            "cameras are replugged"
        )
    if camera.driver != "none" and camera.topic:
        raise RobotError(
            f"{where}: topic: the driver publishes on camera/{camera.name}/image_raw; leave it out"
        )


# Pieces of YAML.


def _is(value: Any, kind: type, where: str, what: str) -> Any:
    """Return `value`, which must be of a kind."""
    if not isinstance(value, kind):
        raise RobotError(f"{where}: it is {value!r}, but must be {what}")
    return value


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    return dict(_is(value, Mapping, where, "entries, as in {key: value}"))


def _list(value: Any, where: str) -> list[Any]:
    return list(_is(value, list, where, "a list, as in [first, second]"))


def _known(entry: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    """Return a copy of the entries, if they have no other keys than the known ones."""
    for key in _mapping(entry, where):
        if key not in known:
            raise RobotError(f"{where}: there is no entry '{key}'; {instead_of(str(key), known)}")
    return dict(entry)


def _text(value: Any, where: str) -> str:
    return str(_is(value, str, where, "a text; put it into quotes")).strip()


def _names(cls: type[Settings]) -> list[str]:
    return [field.name for field in fields(cls)]


def _made(cls: type[AnySettings], entry: Any, where: str) -> AnySettings:
    """Return what an entry describes; an error names the key in it."""
    try:
        return cls(**_known(entry, _names(cls), where))
    except SettingError as error:
        raise RobotError(f"{where}: {error.name}: it {error.problem}") from error


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RobotError(f"{where}: it is {value!r}, but must be a number")
    return float(value)


def _once(values: Sequence[str], where: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise RobotError(f"{where}: '{twice[0]}' is there twice")


LEROBOT_ARM = tuple(_joint(name, {}, name) for name in LEROBOT_JOINTS)
"""The joints of an SO-100 or SO-101 as LeRobot's data have them: without limits."""
