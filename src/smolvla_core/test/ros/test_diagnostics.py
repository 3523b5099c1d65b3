# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says about a status, and that it says what to do."""

import math

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from smolvla_core.ros.diagnostics import executor_diagnostics, policy_diagnostics

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def policy(**changes):
    values = {
        "state": PolicyStatus.READY,
        "backend": "smolvla",
        "checkpoint": "lerobot/smolvla_base",
        "device": "cuda:0",
        "dtype": "bfloat16",
        "cameras": ["top", "wrist"],
        "camera_ages": [0.02, 0.03],
        "joint_state_age": 0.01,
        "chunks": 20,
        "chunk_rate": 1.5,
        "inference_last": 0.1,
        "inference_p50": 0.11,
        "inference_p95": 0.15,
    }
    return PolicyStatus(**{**values, **changes})


def executor(seconds=10, **changes):
    values = {
        "state": ExecutorStatus.RUNNING,
        "reason": "executing actions",
        "queue_depth": 30,
        "chunk_size": 20,
        "chunk_size_threshold": 0.7,
        "action_period": 1 / 30,
        "joint_state_age": 0.01,
        "latency_last": 0.1,
        "latency_p50": 0.1,
        "latency_p95": 0.2,
        "period_p50": 1 / 30,
        "period_p99": 0.034,
        "period_max": 0.2,
        "chunks_merged": 10,
    }
    status = ExecutorStatus(**{**values, **changes})
    status.header.stamp.sec = seconds
    return status


def by_name(reports):
    return {report.name: report for report in reports}


def policy_reports(before=None, **changes):
    return by_name(policy_diagnostics(policy(**changes), before or policy()))


def executor_reports(before=None, **changes):
    return by_name(executor_diagnostics(executor(**changes), before or executor(seconds=0)))


def values(report):
    return {value.key: value.value for value in report.values}


def test_all_is_well():
    reports = policy_reports() | executor_reports()
    assert {report.level for report in reports.values()} == {OK}
    assert all(report.message for report in reports.values())


def test_the_values_are_those_of_the_status():
    reports = policy_reports() | executor_reports(starvations=4)
    assert values(reports["model"])["device"] == "cuda:0"
    assert values(reports["inference"])["chunk_rate"] == "1.5"
    assert values(reports["camera wrist"])["age"] == "0.03"
    queue = values(reports["queue"])
    assert (queue["starvations"], queue["latency_p95"]) == ("4", "0.2")
    assert float(queue["latency_hidden"]) == pytest.approx(0.5 * 20 / 30, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"state": PolicyStatus.ERROR, "level": 2, "message": "no checkpoint x"}, ERROR),
        ({"state": PolicyStatus.READY, "level": 1, "message": "another executor"}, WARN),
        ({"state": PolicyStatus.LOADING, "message": "loading"}, OK),
        ({"state": PolicyStatus.INFERRING}, OK),
    ],
)
def test_the_state_of_the_policy(changes, level):
    report = policy_reports(**changes)["model"]
    assert report.level == level
    assert changes.get("message", "inferring") in report.message


@pytest.mark.parametrize(
    ("age", "message"), [(math.inf, "no image yet"), (0.8, "0.80 s old, more than 0.5 s")]
)
def test_a_silent_camera_is_an_error_that_says_where_to_look(age, message):
    reports = policy_reports(camera_ages=[0.02, age], level=2)
    assert reports["camera top"].level == OK
    report = reports["camera wrist"]
    assert report.level == ERROR
    assert message in report.message
    assert "driver" in report.message


def test_a_camera_and_joints_that_are_still_to_come_are_no_error():
    reports = policy_reports(camera_ages=[0.02, math.inf], joint_state_age=math.inf)
    assert reports["camera wrist"].level == reports["joint states"].level == OK
    assert executor_reports(joint_state_age=math.inf)["joint states"].level == OK
    assert executor_reports(joint_state_age=math.inf, level=1)["joint states"].level == WARN


def test_limits_are_those_of_the_parameters():
    status = policy(camera_ages=[0.02, 0.8], joint_state_age=0.4)
    reports = by_name(
        policy_diagnostics(status, status, max_image_age=1.0, max_joint_state_age=0.5)
    )
    assert reports["camera wrist"].level == reports["joint states"].level == OK
    status = executor(joint_state_age=0.4)
    assert by_name(executor_diagnostics(status, status))["joint states"].level == ERROR
    reports = by_name(executor_diagnostics(status, status, state_timeout=0.5))
    assert reports["joint states"].level == OK


def test_joint_states_of_a_policy_that_does_not_listen_are_no_error():
    reports = policy_reports(
        state=PolicyStatus.UNCONFIGURED, cameras=[], camera_ages=[], joint_state_age=math.inf
    )
    assert "joint states" not in reports


@pytest.mark.parametrize(("chunks", "level"), [(20, ERROR), (25, WARN)])
def test_failed_inferences_are_reported(chunks, level):
    before = policy(inference_errors=1)
    report = policy_reports(before, inference_errors=3, chunks=chunks, message="out of memory")[
        "inference"
    ]
    assert report.level == level
    assert "2 inferences failed" in report.message
    assert "out of memory" in report.message
    assert policy_reports(before, inference_errors=1)["inference"].level == OK


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        (0.24, "the policy takes 0.24 s, the queue reaches 0.13 s: raise chunk_size_threshold"),
        (0.62, "no chunk_size_threshold (g) hides more than half a chunk (0.33 s)"),
        (0.13, "mostly answers in time"),
    ],
)
def test_a_queue_that_ran_dry_says_why_and_what_to_do(latency, message):
    before = executor(seconds=0, starvations=2)
    slow = {"latency_p50": latency, "latency_p95": latency, "chunk_size_threshold": 0.2}
    report = executor_reports(before, starvations=5, **slow)["queue"]
    assert report.level == WARN
    assert "ran dry 3 times in the last 10 s" in report.message
    assert message in report.message
    assert executor_reports(before, starvations=2)["queue"].level == OK


def test_the_synchronous_execution_holds_by_design():
    reports = executor_reports(
        state=ExecutorStatus.HOLDING, chunk_size_threshold=0.0, starvations=5, reason="asked"
    )
    assert reports["execution"].level == reports["queue"].level == OK


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({"requests_timed_out": 2}, WARN, "is policy_node running"),
        ({"requests_refused": 2, "last_refusal": "camera top"}, WARN, "camera top"),
        (
            {"requests_refused": 2, "state": ExecutorStatus.WAITING, "level": 1},
            WARN,
            "refused 2 requests",
        ),
        ({"requests_refused": 2, "state": ExecutorStatus.WAITING}, OK, "queued"),
        ({"chunks_invalid": 1, "reason": "120 rad, units?"}, ERROR, "units?"),
    ],
)
def test_what_the_policy_does_wrong(changes, level, message):
    report = executor_reports(**changes)["queue"]
    assert report.level == level
    assert message in report.message


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (ExecutorStatus.WAITING, OK),
        (ExecutorStatus.WAITING, WARN),
        (ExecutorStatus.HOLDING, WARN),
        (ExecutorStatus.FAULT, ERROR),
    ],
)
def test_the_state_of_the_executor_has_the_level_of_its_log(state, level):
    report = executor_reports(state=state, level=level[0], reason="the reason")["execution"]
    assert (report.level, report.message) == (level, "the reason")


def test_an_executor_that_is_not_configured_says_only_that():
    reports = executor_reports(
        state=ExecutorStatus.IDLE, reason="ros2 lifecycle set", joint_state_age=math.nan
    )
    assert list(reports) == ["execution"]
    assert (reports["execution"].level, reports["execution"].message) == (
        OK,
        "ros2 lifecycle set",
    )


def test_late_cycles_and_interventions_are_reported_when_they_are_many():
    assert executor_reports(overruns=2)["control loop"].level == OK
    report = executor_reports(overruns=20)["control loop"]
    assert report.level == WARN
    assert "realtime_priority" in report.message
    assert executor_reports(guard_limited=10)["guard"].level == OK
    report = executor_reports(guard_limited=100)["guard"]
    assert report.level == WARN
    assert "max_speed" in report.message


def test_a_jump_between_chunks_is_reported_while_chunks_come():
    before = executor(seconds=0, chunks_merged=8)
    report = executor_reports(before, seam_jump_last=0.31)["guard"]
    assert report.level == WARN
    assert "0.31 rad" in report.message
    assert executor_reports(seam_jump_last=0.31)["guard"].level == OK


def test_counters_that_began_anew_are_counted_from_zero():
    before = executor(seconds=0, starvations=50)
    report = executor_reports(before, starvations=1, latency_p95=0.6)["queue"]
    assert "ran dry 1 time in" in report.message
