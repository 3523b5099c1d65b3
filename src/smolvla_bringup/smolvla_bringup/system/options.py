# SPDX-License-Identifier: Apache-2.0
"""What a deployment may change at the start, declared once.

The launch files offer these as launch arguments, `start` and `demo` as command-line options.
Everything else stands in the parameter files of `config/`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolvla_executor.core.aggregation import AGGREGATIONS

PARTS = ("arm", "description", "cameras", "policy", "visualization")
"""The parts of the system; each option says which of them it is for."""

_ALL = PARTS

_NAMESPACE = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)

_FRAME = re.compile(r"[^\s/]+(/[^\s/]+)*")


class SetupError(Exception):
    """The system cannot be started as asked for; the text says why and what to do."""


def _option(
    default: Any,
    kind: type,
    description: str,
    choices: tuple[str, ...] = (),
    parts: tuple[str, ...] = _ALL,
) -> Any:
    return dataclasses.field(
        default=default,
        metadata={
            "kind": kind,
            "description": description,
            "choices": choices,
            "parts": parts,
        },
    )


@dataclasses.dataclass(frozen=True)
class Options:
    """How the system shall be started. None keeps the value of the parameter file.

    Raises:
        SetupError: a value is not one of its choices, is outside its range, or two options
            contradict each other.
    """

    hardware: str = _option(
        "real",
        str,
        "which arm: real (servos on a serial port), mock (ros2_control without an arm, its "
        "states follow the commands) or sim (MuJoCo, with cameras and a scene)",
        ("real", "mock", "sim"),
    )
    model: str = _option(
        "so100", str, "kind of the arm", ("so100", "so101"), ("arm", "description", "policy")
    )
    port: str | None = _option(
        None,
        str,
        "serial port of a real arm, best a name below /dev/serial/by-id/; default: the only one "
        "that is plugged in",
        parts=("arm", "description"),
    )
    calibration: str | None = _option(
        None,
        str,
        "LeRobot's calibration of the arm: a path ending in .json, or LeRobot's --robot.id; a "
        "real arm needs it",
        parts=("arm", "description", "policy"),
    )
    output: str = _option(
        "forward",
        str,
        "how commands reach the arm: forward (forward_command_controller) or joint_trajectory "
        "(joint_trajectory_controller)",
        ("forward", "joint_trajectory"),
        ("arm", "policy"),
    )
    policy: str = _option(
        "smolvla",
        str,
        "who thinks: smolvla (the network), scripted (a script that knows the simulated scene) or "
        "none",
        ("smolvla", "scripted", "none"),
        ("policy", "visualization"),
    )
    checkpoint: str | None = _option(
        None,
        str,
        "checkpoint of the policy: a folder, or an id on the Hugging Face hub; default with "
        "hardware:=sim: the small one that comes with the simulation",
        parts=("policy",),
    )
    cameras_file: str | None = _option(
        None,
        str,
        "YAML file that lists the cameras, their drivers and topics (an example: "
        "config/cameras.yaml of this package); default: no driver is started, the policy "
        "listens to camera/<name>/image_raw",
        parts=("cameras", "policy", "visualization"),
    )
    rviz: bool | None = _option(
        None,
        bool,
        "open RViz; default: where rviz2 is installed and there is a display",
        parts=("visualization",),
    )
    dry_run: bool = _option(
        False, bool, "compute commands but do not publish them", parts=("policy",)
    )
    namespace: str = _option("", str, "namespace of all nodes, for several arms in one graph")
    parent_frame: str = _option(
        "",
        str,
        "frame that carries the arm, such as world or table, for one tree of frames that several "
        "arms share; default: a frame world of this arm's own, <namespace>/world",
        parts=("description",),
    )
    xyz: str = _option(
        "0 0 0",
        str,
        "where the arm's base_link is in that frame: x y z [m]",
        parts=("description", "visualization"),
    )
    rpy: str = _option(
        "0 0 0",
        str,
        "how base_link is turned in that frame: roll pitch yaw [rad]",
        parts=("description", "visualization"),
    )
    task: str = _option(
        "put the red cube into the bowl",
        str,
        "task whose success the simulation judges",
        parts=("arm",),
    )
    seed: int = _option(
        0, int, "seed of the simulated scene; the same seed, the same scene", parts=("arm",)
    )
    rate: float | None = _option(
        None, float, "control rate of the executor [Hz]; default: executor.yaml", parts=("policy",)
    )
    g: float | None = _option(
        None,
        float,
        "ask for the next chunk when this share of the chunk is still queued (0..1); "
        "default: executor.yaml",
        parts=("policy",),
    )
    aggregation: str | None = _option(
        None,
        str,
        "how overlapping chunks are combined; default: executor.yaml",
        tuple(AGGREGATIONS),
        ("policy",),
    )
    autostart: bool = _option(
        True,
        bool,
        "configure and activate policy and executor; otherwise they wait for `ros2 lifecycle set`",
        parts=("policy",),
    )
    wait_for_start: bool = _option(
        False,
        bool,
        "the active executor waits for its service ~/start or a RunTask goal; otherwise it "
        "executes at once",
        parts=("policy",),
    )
    viewer: bool = _option(False, bool, "open MuJoCo's window (needs a display)", parts=("arm",))
    params_file: str | None = _option(
        None, str, "parameter file read after the package's own; its values win"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value is not None and value not in choices:
                raise SetupError(
                    f"{field.name} is '{value}', which is not one of: {', '.join(choices)}"
                )
        if self.checkpoint and self.policy != "smolvla":
            raise SetupError(
                f"policy '{self.policy}' reads no checkpoint; leave out one of the two"
            )
        if self.output == "joint_trajectory" and self.hardware == "sim":
            raise SetupError(
                "the simulation takes no trajectories; leave output out, or choose hardware 'mock'"
            )
        if self.seed < 0:
            raise SetupError(f"seed is {self.seed}; it must be 0 or more")
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
            if not _is_triple(getattr(self, name)):
                raise SetupError(
                    f"{name} is '{getattr(self, name)}'; it must be three numbers with spaces "
                    "between them, such as '0 -0.3 0'"
                )
        if self.rate is not None and not 0.0 < self.rate <= 1000.0:
            raise SetupError(f"rate is {self.rate} Hz; it must be above 0 and at most 1000")
        if self.g is not None and not 0.0 <= self.g <= 1.0:
            raise SetupError(f"g is {self.g}; it is a share and must lie in 0..1")

    @property
    def shipped_checkpoint(self) -> bool:
        """Whether the policy runs the checkpoint that comes with the simulation."""
        return self.hardware == "sim" and self.policy == "smolvla" and not self.checkpoint

    @property
    def node_namespace(self) -> str:
        """`namespace` without slashes at its ends; empty for none."""
        return self.namespace.strip("/")

    def full_name(self, name: str) -> str:
        """Return `name` with the namespace and a leading slash."""
        return "/" + "/".join(part for part in (self.node_namespace, name) if part)

    @property
    def frame_prefix(self) -> str:
        """What stands in front of the names of all frames: they are global, unlike topics."""
        return f"{self.node_namespace}/" if self.node_namespace else ""

    @property
    def calibration_is_path(self) -> bool:
        """Whether `calibration` is a path, by the rule of so100_hardware's tools."""
        return bool(self.calibration) and (
            "/" in str(self.calibration) or str(self.calibration).endswith(".json")
        )

    @property
    def calibration_source(self) -> str:
        """`calibration` with a whole path where it is one; empty for none."""
        if self.calibration_is_path:
            return str(Path(str(self.calibration)).expanduser().resolve())
        return self.calibration or ""

    def existing_calibration(self) -> str:
        """Return `calibration_source`.

        Raises:
            SetupError: it is a path and there is no such file.
        """
        source = self.calibration_source
        if self.calibration_is_path and not Path(source).is_file():
            raise SetupError(f"no such calibration {source}; `smolvla arm calibrate` makes one")
        return source

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Options:
        """Read options from texts, as launch arguments are; an empty one keeps the default.

        Raises:
            SetupError: a text is no value of the option's kind.
        """
        kinds = {field.name: field.metadata["kind"] for field in dataclasses.fields(cls)}
        return cls(
            **{name: _parse(name, text, kinds[name]) for name, text in values.items() if text}
        )


def _is_triple(text: str) -> bool:
    """Say whether `text` is three finite numbers."""
    try:
        return [math.isfinite(float(number)) for number in text.split()] == [True] * 3
    except ValueError:
        return False


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        known = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in known:
            raise SetupError(f"{name} is '{text}'; it must be true or false")
        return known[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise SetupError(f"{name} is '{text}', which is no number") from error
