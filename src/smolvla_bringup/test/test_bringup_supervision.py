# SPDX-License-Identifier: Apache-2.0
"""What becomes of the system when a node ends, with and without an arm that somebody holds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from smolvla_bringup.system.node_list import node_list
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options
from smolvla_bringup.system.supervision import RESTARTS, STEADY, Outcome, Supervisor

THINKER = NodeSpec("p", "e", "thinker", restart_command="ros2 launch it")
PAINTER = NodeSpec("p", "e", "painter", critical=False, restart_command="ros2 launch paint")
DRIVER = NodeSpec("p", "e", "driver", restarts=False, holds_arm=True)
SPAWNER = NodeSpec("p", "e", "spawner", restarts=False, one_shot=True, error_source="driver")
SIMULATOR = NodeSpec("p", "e", "simulator", restarts=False)
KILLED = -signal.SIGKILL


def held() -> Supervisor:
    return Supervisor((DRIVER, SPAWNER, THINKER, PAINTER), at=100.0)


def simulated() -> Supervisor:
    return Supervisor((SIMULATOR, THINKER, PAINTER), at=100.0)


def outcome(supervisor: Supervisor, name: str, code: int, at: float = 101.0) -> Outcome:
    verdict = supervisor.ended(name, code, at)
    assert verdict is not None
    return verdict.outcome


@pytest.mark.parametrize("code", [KILLED, -signal.SIGSEGV, -signal.SIGABRT, 1, 127])
@pytest.mark.parametrize("name", ["thinker", "painter"])
def test_a_node_that_failed_is_restarted_whatever_holds_the_arm(name: str, code: int) -> None:
    for supervisor in (held(), simulated()):
        verdict = supervisor.ended(name, code, 101.0)
        assert verdict is not None
        assert (verdict.outcome, verdict.level) == (Outcome.RESTART, "warning")
        assert f"(1 of {RESTARTS} times in a row)" in verdict.message


def test_only_what_holds_the_arm_ends_a_system_that_holds_one() -> None:
    assert outcome(held(), "driver", KILLED) is Outcome.END
    assert outcome(held(), "driver", 0) is Outcome.END
    assert outcome(held(), "spawner", 1) is Outcome.END
    assert outcome(held(), "thinker", os.EX_CONFIG) is Outcome.HOLD
    assert outcome(held(), "painter", os.EX_CONFIG) is Outcome.WITHOUT


def test_without_an_arm_to_drop_what_the_system_needs_ends_it() -> None:
    assert outcome(simulated(), "simulator", KILLED) is Outcome.END
    assert outcome(simulated(), "thinker", os.EX_CONFIG) is Outcome.END
    assert outcome(simulated(), "painter", os.EX_CONFIG) is Outcome.WITHOUT


def test_the_limit_counts_starts_in_a_row() -> None:
    supervisor, at = held(), 100.0
    for _ in range(RESTARTS):
        at += STEADY / 2
        assert outcome(supervisor, "thinker", KILLED, at) is Outcome.RESTART
    at += STEADY / 2
    assert outcome(supervisor, "thinker", KILLED, at) is Outcome.HOLD
    assert outcome(supervisor, "painter", KILLED, at) is Outcome.RESTART  # counted by itself


def test_a_node_that_has_run_for_long_starts_counting_anew() -> None:
    supervisor, at = held(), 100.0
    for _ in range(3 * RESTARTS):
        at += STEADY + 10.0
        assert outcome(supervisor, "thinker", KILLED, at) is Outcome.RESTART


def test_a_node_that_somebody_ended_stays_ended_and_is_no_error() -> None:
    verdict = held().ended("painter", 0, 101.0)
    assert verdict is not None
    assert (verdict.outcome, verdict.level) == (Outcome.WITHOUT, "info")
    assert outcome(held(), "thinker", 0) is Outcome.HOLD


def test_a_one_shot_node_that_has_done_its_work_is_no_news() -> None:
    assert held().ended("spawner", 0, 101.0) is None


def test_the_message_says_what_failed_the_reason_what_holds_and_what_to_type() -> None:
    supervisor = held()
    log = "[INFO] [1.0] [n]: well\n\x1b[31m[ERROR] [1.5] [n]: no such file\x1b[0m\nbye\n"
    supervisor.add_output("thinker", log)
    verdict = supervisor.ended("thinker", os.EX_CONFIG, 101.0)
    assert verdict is not None
    assert verdict.level == "error"
    assert verdict.message.startswith("thinker failed with exit status 78: no such file; ")
    for part in ("the arm holds its position", "ros2 launch it", "Ctrl-C"):
        assert part in verdict.message
    assert "\n" not in verdict.message


def test_errors_before_a_restart_are_forgotten() -> None:
    supervisor = simulated()
    supervisor.add_output("thinker", "[ERROR] [1.5] [n]: of its first life\n")
    supervisor.ended("thinker", 1, 101.0)
    verdict = supervisor.ended("thinker", os.EX_CONFIG, 102.0)
    assert verdict is not None
    assert verdict.message == "thinker failed with exit status 78"


def test_a_spawner_that_fails_quotes_the_first_error_of_the_driver() -> None:
    supervisor = held()
    supervisor.add_output("driver", "fine\nerror: the cause\n[ERROR] [2.5] [d]: later\nbye\n")
    supervisor.add_output("spawner", "[ERROR] [3.5] [s]: I do not know\n")
    verdict = supervisor.ended("spawner", 1, 101.0)
    assert verdict is not None
    assert verdict.message == "spawner failed with exit status 1: error: the cause"


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize("hardware", ["mock", "sim"])
def test_the_arms_own_nodes_alone_are_never_restarted(hardware: str) -> None:
    options = Options(hardware=hardware, checkpoint="owner/name", view="none")
    specs = {spec.name: spec for spec in node_list(options)}
    arm = {"sim": {"sim_node"}, "mock": {"controller_manager", "spawner"}}[hardware]
    assert {name for name, spec in specs.items() if not spec.restarts} == arm
    held = {name for name, spec in specs.items() if spec.holds_arm}
    assert held == arm & {"controller_manager"}
    assert {name for name, spec in specs.items() if spec.critical} == {
        *arm,
        "policy_node",
        "executor_node",
    }


@pytest.mark.usefixtures("ros2_control")
def test_the_command_that_starts_a_part_again_has_the_arguments_of_that_part(
    programs: Callable[..., None],
) -> None:
    programs("ros2")
    options = Options(
        hardware="mock",
        checkpoint="my run/last",
        namespace="left",
        dry_run=True,
        seed=4,
        rate=20.0,
    )
    again = {spec.name: spec.restart_command for spec in node_list(options)}
    assert again["policy_node"] == again["executor_node"]
    assert again["policy_node"] == (
        "ros2 launch smolvla_bringup policy.launch.py hardware:=mock "
        "'checkpoint:=my run/last' dry_run:=true namespace:=left rate:=20.0"
    )
    assert again["visualization_node"].endswith(
        "visualization.launch.py hardware:=mock namespace:=left"
    )
    assert again["controller_manager"] == ""
