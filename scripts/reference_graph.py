# SPDX-License-Identifier: Apache-2.0
"""Starts every node of the workspace for a moment and prints as JSON what it talks through.

The nodes are the console scripts whose module is a node's. Each runs in a namespace of its own, so
that they do not hear each other; where a parameter changes the topics, it runs once more with the
other value.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""How long a node may take to come up [s]."""
SETTLED = 6.0
"""A node that has offered nothing new for so long [s] is complete."""

# Parameters with which a node does no harm and shows its topics; one run each.
_CAMERAS = '["top"]'
_RUNS: dict[str, list[dict[str, str]]] = {
    "policy_node": [
        {"backend": "scripted", "cameras": _CAMERAS},
        {"backend": "scripted", "cameras": _CAMERAS, "image_transport": "compressed"},
    ],
    "executor_node": [
        {"dry_run": "true", "success_topic": "sim/success"},
        {"dry_run": "true", "output": "joint_trajectory"},
    ],
    "record": [
        {"cameras": _CAMERAS, "action_source": "command"},
        {"cameras": _CAMERAS, "action_source": "joint_trajectory"},
        {"cameras": _CAMERAS, "action_source": "leader", "image_transport": "compressed"},
    ],
    "sim_node": [{"cameras": _CAMERAS, "image_width": "64", "image_height": "48"}],
}
_WORDS = {
    "/task_instruction": "what the robot shall do; record_node listens where no executor does",
    "/joint_states": "measured joints, by name; a real arm's come from joint_state_broadcaster",
    "/leader/joint_states": "of a leader arm; `record` with `action_source: leader`",
    "/camera/<camera>/image_raw": "pictures; parameter `camera_topic`",
    "/camera/<camera>/image_raw/compressed": "the same with `image_transport: compressed`",
    "/camera/<camera>/camera_info": "the camera's pinhole model",
    "/smolvla/inference_request": "asks for the next chunk",
    "/smolvla/action_chunk": "the answer, also when it is a refusal",
    "/arm_controller/commands": "joint positions [rad] in the order of the parameter `joints`",
    "/arm_controller/joint_trajectory": "the same with `output: joint_trajectory`",
    "/robot_description": "the URDF, as robot_state_publisher publishes it",
    "/visualization_node/predicted_path": "the chunk as a path, for RViz and Foxglove",
    "/diagnostics": "health in words, for rqt_robot_monitor and Foxglove; also of a real arm",
    "/policy_node/status": "what the policy does or misses",
    "/executor_node/status": "what the executor does, with all figures",
    "/record_node/status": "what the recorder does, in a line",
    "/sim/objects": "things on the table: a marker each, its name in `ns`",
    "/sim/score": "graded success of the task, 0 to 1",
    "/sim/success": "whether the task is done; executor_node's `success_topic` in the simulation",
    "/executor_node/start": "begin to execute",
    "/executor_node/stop": "stop and hold the arm",
    "/record_node/start_episode": "begin an episode",
    "/record_node/save_episode": "end and save it",
    "/record_node/discard_episode": "give it up",
    "/sim/reset": "put the scene back; the same seed gives the same scene",
    "/sim/set_task": "choose the task that is judged",
    "/smolvla/run_task": "obey one instruction until canceled or the time is over",
}
_EVERY_NODE = re.compile(
    r"/(rosout|parameter_events|clock)$|/(describe_parameters|get_parameter_types|get_parameters"
    r"|list_parameters|set_parameters|set_parameters_atomically|get_type_description)$"
)
_MANAGED = re.compile(
    r"/(change_state|get_state|get_available_states|get_available_transitions|get_transition_graph"
    r"|transition_event)$"
)
_ACTION = re.compile(r"^(.*)/_action/")


def node_scripts() -> dict[str, str]:
    """Return console script -> ``module:function`` of the nodes of this workspace."""
    return {
        point.name: point.value
        for point in entry_points(group="console_scripts")
        if point.module in ("smolvla_core.console", "smolvla_sim.console")
    }


class _Run:
    """A node that runs in its own namespace."""

    def __init__(self, script: str, entry: str, parameters: dict[str, str], number: int) -> None:
        self.script = script
        self.namespace = f"/n{number}"
        self.folder = tempfile.TemporaryDirectory()
        self._log = Path(self.folder.name) / "log"
        module, _, function = entry.partition(":")
        given = dict(parameters)
        if script == "record":
            given["dataset"] = str(Path(self.folder.name) / "dataset")
        command = [sys.executable, "-c", f"import sys, {module} as m; sys.exit(m.{function}())"]
        command += ["--ros-args", "-r", f"__ns:={self.namespace}"]
        # For the managed nodes; the others leave alone what a file has for all nodes.
        everyone = Path(self.folder.name) / "everyone.yaml"
        everyone.write_text("/**:\n  ros__parameters:\n    autostart: true\n", encoding="utf-8")
        command += ["--params-file", str(everyone)]
        for name, value in given.items():
            command += ["-p", f"{name}:={value}"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.name = ""
        self.seen: dict[str, Any] = {}
        self.changed = time.monotonic()

    def observe(self, observer: Any) -> None:
        """Note what the node offers now."""
        for name, namespace in observer.get_node_names_and_namespaces():
            if namespace == self.namespace:
                self.name = name
        if not self.name:
            return
        node = (self.name, self.namespace)
        seen = {
            "publishers": dict(observer.get_publisher_names_and_types_by_node(*node)),
            "subscribers": dict(observer.get_subscriber_names_and_types_by_node(*node)),
            "services": dict(observer.get_service_names_and_types_by_node(*node)),
        }
        if seen != self.seen:
            self.seen, self.changed = seen, time.monotonic()

    @property
    def settled(self) -> bool:
        """Whether it has offered something and nothing new for a while."""
        return bool(self.seen) and time.monotonic() - self.changed > SETTLED

    def check(self) -> None:
        """Raise RuntimeError with its last words when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.script} ended:\n{self._log.read_text()[-2000:]}")

    def end(self) -> None:
        """Interrupt it, and kill it when that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=20.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()


def _is_active(observer: Any, run: _Run) -> bool:
    """Say whether a managed node is active; True for others."""
    name = f"{run.namespace}/{run.name}/get_state"
    if name not in run.seen.get("services", {}):
        return True
    import rclpy
    from lifecycle_msgs.srv import GetState

    client = observer.create_client(GetState, name)
    future = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(observer, future, timeout_sec=5.0)
    observer.destroy_client(client)
    return future.done() and future.result().current_state.label == "active"


def _quality(profile: Any) -> str:
    words = [profile.reliability.name.lower().replace("_", " ")]
    if profile.durability.name == "TRANSIENT_LOCAL":
        words.append("latched")
    return ", ".join(words)


def _collect(observer: Any, runs: list[_Run]) -> dict[str, Any]:
    """Return the graph of all runs, names without namespace, cameras as ``<camera>``."""
    topics: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"type": "", "publishers": set(), "subscribers": set(), "qos": {}}
    )
    services: dict[str, dict[str, Any]] = defaultdict(lambda: {"type": "", "servers": set()})
    actions: dict[str, dict[str, Any]] = defaultdict(lambda: {"type": "", "servers": set()})
    managed = set()

    def plain(name: str, run: _Run) -> str:
        name = name.removeprefix(run.namespace)
        return re.sub(r"^/camera/\w+/", "/camera/<camera>/", name)

    for run in runs:
        for side in ("publishers", "subscribers"):
            ask = getattr(
                observer, f"get_{'subscriptions' if side[0] == 's' else side}_info_by_topic"
            )
            for full, (kind, *_) in run.seen[side].items():
                name = plain(full, run)
                if _EVERY_NODE.search(name) or _MANAGED.search(name) or _ACTION.match(name):
                    continue
                topic = topics[name]
                topic["type"] = kind
                topic[side].add(run.name)
                for end in ask(full):
                    if end.node_namespace == run.namespace:
                        topic["qos"].setdefault(side, _quality(end.qos_profile))
        for full, (kind, *_) in run.seen["services"].items():
            name = plain(full, run)
            if _MANAGED.search(name):
                managed.add(run.name)
            elif action := _ACTION.match(name):
                if name.endswith("/send_goal"):
                    actions[action[1]]["type"] = kind.removesuffix("_SendGoal")
                    actions[action[1]]["servers"].add(run.name)
            elif not _EVERY_NODE.search(name):
                services[name]["type"] = kind
                services[name]["servers"].add(run.name)

    def rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        result = []
        for name in sorted(found):
            row: dict[str, Any] = {"name": name, "words": _WORDS.get(name, "")}
            if not row["words"]:
                print(f"reference_graph: no words for {name} in _WORDS", file=sys.stderr)
            for key, value in found[name].items():
                row[key] = sorted(value) if isinstance(value, set) else value
            if "qos" in row:
                # What is published decides what a listener may ask for.
                row["qos"] = row["qos"].get("publishers") or row["qos"].get("subscribers", "")
            result.append(row)
        return result

    return {
        "topics": rows(topics),
        "services": rows(services),
        "actions": rows(actions),
        "managed": sorted(managed),
    }


def main() -> int:
    """Start the nodes, look, end them; the exit code."""
    from smolvla_bringup.system.environment import enter_own_graph

    enter_own_graph()  # it starts an executor, too
    import rclpy

    scripts = node_scripts()
    wanted = [
        (script, parameters)
        for script in sorted(scripts)
        for parameters in _RUNS.get(script, [{}])
    ]
    runs: list[_Run] = []
    rclpy.init(args=[])
    observer = rclpy.create_node("reference_graph")
    try:
        for number, (script, parameters) in enumerate(wanted):
            runs.append(_Run(script, scripts[script], parameters, number))
        deadline = time.monotonic() + PATIENCE
        while not all(run.settled and _is_active(observer, run) for run in runs):
            rclpy.spin_once(observer, timeout_sec=0.3)
            for run in runs:
                run.check()
                run.observe(observer)
            if time.monotonic() > deadline:
                late = [run.script for run in runs if not run.settled]
                raise RuntimeError(f"not up within {PATIENCE:.0f} s: {', '.join(late)}")
        print(json.dumps(_collect(observer, runs), indent=1))
    except RuntimeError as error:
        print(f"reference_graph: {error}", file=sys.stderr)
        return 1
    finally:
        for run in runs:
            run.end()
        observer.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
