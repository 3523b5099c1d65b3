# SPDX-License-Identifier: Apache-2.0
"""What a deployment may change at the start, declared once.

The launch files offer these as launch arguments, `smolvla run` and `smolvla demo` as command-line
options; and the parameters that backends alone have. Everything else is a parameter of a node.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from smolvla_core.node_settings import (
    RECORDING,
    ExecutorSettings,
    RerunSettings,
    RobotSettings,
    check_show,
)
from smolvla_core.robot import FORWARD, TRAJECTORY, Output, Robot, RobotError, load_robot
from smolvla_core.settings import (
    SettingError,
    Settings,
    from_texts,
    same,
    setting,
    settings_of,
)
from smolvla_core.units.calibration import CalibrationError, find_calibration
from smolvla_policy.backends.registry import (
    available_backends,
    backend_parameters,
    backend_settings,
    check_parameters,
)

from smolvla_core import settings

PARTS = ("arm", "description", "cameras", "leader", "policy", "visualization")
"""The parts of the system; each option says which of them it is for."""

SIM, JOY, EXTERNAL, NONE = "sim", "joy", "external", "none"
"""What the option `leader` may be besides a serial port."""

RVIZ, RERUN = "rviz", "rerun"
"""What may show a run, the option `view`."""

_NAMESPACE = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_FRAME = re.compile(r"[^\s/]+(/[^\s/]+)*")
_TRIPLE = re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(\s+|$)){3}", re.ASCII)
_FILE = "Default: as the parameter file says."


class SetupError(Exception):
    """The system cannot be started as asked for; the message says the reason and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """How the system shall be started. None keeps the value of the parameter file.

    Attributes:
        backend: settings that the backend `policy` alone has, by name.

    Raises:
        SetupError: a value is not one of its choices, is outside its range, or two options
            contradict each other.
    """

    hardware: str = setting(
        "real",
        "Which arm: real (servos on a serial port), mock (ros2_control without an arm, its "
        "states follow the commands) or sim (MuJoCo, with cameras and a scene).",
        choices=("real", "mock", "sim"),
        tags=PARTS,
    )
    robot: str = same(
        RobotSettings,
        "robot",
        "so100",
        PARTS,
        "An example: config/my_robot.yaml of this package.",
    )
    port: str | None = setting(
        None,
        "Serial port of a real arm, best a name below /dev/serial/by-id/. Default: the only one "
        "that is plugged in.",
        tags=("arm", "description"),
    )
    calibration: str | None = setting(
        None,
        "LeRobot's calibration of the arm: a path ending in .json, or LeRobot's --robot.id; a "
        "real arm needs it, here or in the robot file.",
        tags=("arm", "description", "policy"),
    )
    on_stop: str = setting(
        "hold",
        "What an e-stop does to a real arm's servos: hold where they are, or torque_off.",
        choices=("hold", "torque_off"),
        tags=("arm", "description"),
    )
    output: str | None = setting(
        None,
        "How commands reach the arm: forward (forward_command_controller) or joint_trajectory "
        "(joint_trajectory_controller). Default: the outputs of the robot file.",
        choices=(FORWARD, TRAJECTORY),
        tags=("arm", "policy"),
    )
    leader: str = setting(
        NONE,
        "What a person moves the arm with, the policy running or not: the serial port of a leader "
        "arm; sim (a simulated person, with hardware sim); joy (a joystick); external (somebody "
        "else publishes leader/joint_states, such as `smolvla teleop`); or none.",
        tags=("leader", "policy"),
    )
    leader_calibration: str | None = setting(
        None,
        "LeRobot's calibration of the leader arm: a path ending in .json, or LeRobot's "
        "--teleop.id; it needs one, here or in the robot file.",
        tags=("leader",),
    )
    policy: str = setting(
        "smolvla",
        "The policy: smolvla (the network), scripted (a script that knows the simulated scene), "
        "another installed backend, or none.",
        choices=(*available_backends(), "none"),
        tags=("policy", "visualization"),
    )
    checkpoint: str | None = setting(
        None,
        "Checkpoint of the policy: a folder, or an id on the Hugging Face hub. Default with "
        "hardware sim: the small one that comes with the simulation.",
        tags=("policy",),
    )
    view: str | None = setting(
        None,
        "What shows the run: rviz, rerun, or none. Default: RViz where it is installed and there "
        "is a display.",
        choices=(RVIZ, RERUN, "none"),
        tags=("visualization",),
    )
    rerun: str | None = same(
        RerunSettings, "show", None, ("visualization",), "With it view is rerun."
    )
    dry_run: bool = same(ExecutorSettings, "dry_run", False, ("policy",))
    namespace: str = setting(
        "", "Namespace of all nodes, for several arms in one graph.", tags=PARTS
    )
    parent_frame: str = setting(
        "",
        "Frame that carries the arm, such as world or table, for one tree of frames that several "
        "arms share. Default: a frame world of this arm's own, <namespace>/world.",
        tags=("description",),
    )
    xyz: str = setting(
        "0 0 0",
        "Where the arm's base_link is in that frame: x y z [m].",
        tags=("description", "visualization"),
    )
    rpy: str = setting(
        "0 0 0",
        "How base_link is turned in that frame: roll pitch yaw [rad].",
        tags=("description", "visualization"),
    )
    task: str = setting(
        "put the red cube into the bowl",
        "Task that the simulation scores.",
        tags=("arm",),
    )
    seed: int = setting(
        0, "Seed of the simulated scene; the same seed, the same scene.", 0, tags=("arm",)
    )
    rate: float | None = same(ExecutorSettings, "rate", None, ("policy",), _FILE)
    chunk_size_threshold: float | None = same(
        ExecutorSettings, "chunk_size_threshold", None, ("policy",), _FILE
    )
    aggregate: str | None = same(ExecutorSettings, "aggregate", None, ("policy",), _FILE)
    autostart: bool = setting(
        True,
        "Configure and activate policy and executor; otherwise they wait for `ros2 lifecycle "
        "set`.",
        tags=("policy",),
    )
    wait_for_start: bool = same(ExecutorSettings, "wait_for_start", False, ("policy",))
    plan: bool = setting(
        False,
        "Start plan_node, too, which runs plans of several sentences.",
        tags=("arm", "policy"),
    )
    viewer: bool = setting(False, "Open MuJoCo's window; needs a display.", tags=("arm",))
    params_file: str | None = setting(
        None, "Parameter file of the nodes; its values win over their defaults.", tags=PARTS
    )
    backend: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
            own = {} if self.policy == "none" else settings_of(backend_settings(self.policy))
            check_parameters(self.policy, self.backend)
            check_show(self.rerun or "", "rerun")
        except ValueError as error:
            raise SetupError(str(error)) from error
        if self.checkpoint and "checkpoint" not in own:
            raise SetupError(
                f"policy '{self.policy}' reads no checkpoint; leave out one of the two"
            )
        if self.rerun and self.view not in (None, RERUN):
            raise SetupError(
                f"rerun is '{self.rerun}' and view is '{self.view}'; leave out one of the two"
            )
        if self.leader not in (SIM, JOY, EXTERNAL, NONE) and not self.leader_arm:
            raise SetupError(
                f"leader is '{self.leader}'; it must be a serial port (/dev/…), {SIM}, {JOY}, "
                f"{EXTERNAL} or {NONE}"
            )
        if self.plan and self.policy == "none":
            raise SetupError("a plan needs a policy; choose one, or leave out plan")
        if self.leader == SIM and self.hardware != "sim":
            raise SetupError(
                "leader 'sim' is a person in the simulation; choose hardware 'sim', or another "
                "leader"
            )
        if self.output == TRAJECTORY and self.hardware == "sim":
            raise SetupError(
                "the simulation takes no trajectories; leave output out, or choose hardware 'mock'"
            )
        if self.node_namespace and not _NAMESPACE.fullmatch(self.node_namespace):
            raise SetupError(
                f"namespace is '{self.namespace}'; it must be of letters, digits and _, with / "
                "between its parts, none of which begins with a digit"
            )
        if self.parent_frame and not _FRAME.fullmatch(self.parent_frame):
            raise SetupError(
                f"parent_frame is '{self.parent_frame}'; a frame's name has no space and no slash "
                "at its ends"
            )
        for name in ("xyz", "rpy"):
            if not _TRIPLE.fullmatch(getattr(self, name)):
                raise SetupError(
                    f"{name} is '{getattr(self, name)}'; it must be three numbers with spaces "
                    "between them, such as '0 -0.3 0'"
                )

    @cached_property
    def loaded_robot(self) -> Robot:
        """The robot that `robot` names.

        Raises:
            SetupError: there is no such robot, or its file is wrong.
        """
        try:
            return load_robot(self.robot)
        except RobotError as error:
            raise SetupError(f"robot: {error}") from error

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Where the executor's commands go."""
        return self.loaded_robot.chosen_outputs(self.output or "")

    @property
    def viewer_asked(self) -> str | None:
        """`view`, or Rerun where `rerun` says how; None: whatever is there."""
        return RERUN if self.rerun else self.view

    @property
    def rerun_show(self) -> str:
        """`rerun` with a whole path where it is a file; empty for the default."""
        given = self.rerun or ""
        return str(Path(given).expanduser().resolve()) if given.endswith(RECORDING) else given

    @property
    def model(self) -> str:
        """Which arm of the description and of the simulation the robot is.

        Raises:
            SetupError: it is none of them.
        """
        if not self.loaded_robot.model:
            raise SetupError(
                f"robot '{self.robot}' has no model that is known here (so100, so101): start its "
                "driver yourself, and policy.launch.py with this robot beside it"
            )
        return self.loaded_robot.model

    @property
    def arm_calibration(self) -> str:
        """The calibration of the arm: as given, else that of the robot file; empty for none."""
        return self.calibration or next(iter(self.loaded_robot.calibration.values()), "")

    @property
    def leader_arm(self) -> bool:
        """Whether the leader is an arm on a serial port."""
        return "/" in self.leader

    def of_leader_arm(self) -> Options:
        """Return the options of the leader arm as an arm of its own.

        Raises:
            SetupError: it has no calibration, or one that cannot be used.
        """
        name = self.leader_calibration or self.loaded_robot.leader_calibration
        if not name:
            raise SetupError(
                "a leader arm needs its calibration: leader_calibration:= LeRobot's --teleop.id "
                f"or the path of its file, or such an entry in the robot file; `smolvla arm "
                f"calibrate --port {self.leader} --id leader.json` makes one"
            )
        try:
            found = find_calibration(name, leader=True)
        except CalibrationError as error:
            raise SetupError(f"leader_calibration: {error}") from error
        return dataclasses.replace(
            self,
            hardware="real",
            port=self.leader,
            calibration=str(found.file.resolve()),
            leader=NONE,
            output=None,
        )

    @property
    def teleoperated(self) -> bool:
        """Whether a person alone moves the arm."""
        return self.policy == "none" and self.leader != NONE

    @property
    def params_path(self) -> Path | None:
        """Whole path of `params_file`."""
        return Path(self.params_file).expanduser().resolve() if self.params_file else None

    @property
    def shipped_checkpoint(self) -> bool:
        """Whether the policy runs the checkpoint that comes with the simulation."""
        return self.hardware == "sim" and self.policy == "smolvla" and not self.checkpoint

    @property
    def node_namespace(self) -> str:
        """`namespace` without slashes at its ends; empty for none."""
        return self.namespace.strip("/")

    @property
    def frame_prefix(self) -> str:
        """What stands in front of the names of all frames: they are global, unlike topics."""
        return f"{self.node_namespace}/" if self.node_namespace else ""

    @property
    def calibration_is_path(self) -> bool:
        """Whether `arm_calibration` is a path, by the rule of so100_hardware's tools."""
        return "/" in self.arm_calibration or self.arm_calibration.endswith(".json")

    def existing_calibration(self) -> str:
        """Return `arm_calibration` with a whole path where it is one; empty for none.

        Raises:
            SetupError: it is a path and there is no such file.
        """
        if not self.calibration_is_path:
            return self.arm_calibration
        path = Path(self.arm_calibration).expanduser().resolve()
        if not path.is_file():
            raise SetupError(f"no such calibration {path}; `smolvla arm calibrate` makes one")
        return str(path)

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Options:
        """Read options from texts, as launch arguments are; an empty one keeps the default.

        Raises:
            SetupError: a text is no value of the option's type.
        """
        own = backend_parameters(Options)
        try:
            backend = {k: own[k].parse(text) for k, text in values.items() if text and k in own}
            return dataclasses.replace(from_texts(cls, values), backend=backend)
        except SettingError as error:
            raise SetupError(str(error)) from error


def add_arguments(parser: argparse.ArgumentParser, names: Collection[str] | None = None) -> None:
    """Give `parser` the options, those in `names` alone, and the parameters of backends."""
    settings.add_arguments(parser, Options, names)
    if names is None or "policy" in names:
        settings.add_declared(parser, backend_parameters(Options))


def from_arguments(arguments: argparse.Namespace, **fixed: Any) -> Options:
    """Return the options that `arguments` holds; the others keep their defaults.

    Args:
        arguments: what a parser with `add_arguments` has read.
        fixed: options that the program decides itself; they win.

    Raises:
        SetupError: see `Options`.
    """
    given = {**vars(arguments), **fixed}
    own = {name: value for name, value in given.items() if name in backend_parameters(Options)}
    return Options(
        **{name: value for name, value in given.items() if name in settings_of(Options)},
        backend=own,
    )
