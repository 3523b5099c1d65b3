# SPDX-License-Identifier: Apache-2.0
"""Typing errors in names are found; what may be another node's is left alone."""

import itertools
import os
import subprocess
import sys

import pytest
import rclpy
import yaml
from smolvla_core.node_settings import ExecutorSettings, RecordSettings
from smolvla_core.ros.parameter_names import check_arguments, check_file
from smolvla_core.settings import settings_of
from smolvla_executor.visualization_node.markers import VisualizationSettings
from smolvla_policy.backends.registry import policy_parameters

ARM = {"/left/policy_node": ["period", "cameras", "joints"]}


def written(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def section(**values):
    return {"ros__parameters": values}


def problem(tmp_path, content, nodes=ARM):
    """Return what is said about a parameter file; empty for nothing."""
    try:
        check_file(written(tmp_path, content), nodes)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("key", "name", "meant"),
    [
        ("/left/policy_node", "perid", "period"),
        ("/**/policy_node", "camera", "cameras"),
        ("/*/policy_node", "jiont", "joints"),
        ("/**", "peirod", "period"),
        ("/left/**", "camreas", "cameras"),
        ("/**", "use_simtime", "use_sim_time"),
    ],
)
def test_a_misspelled_parameter_is_named_with_the_nearest(tmp_path, key, name, meant):
    said = problem(tmp_path, {key: section(**{name: 1})})
    assert f"mine.yaml: there is no parameter '{name}' of /left/policy_node; did you" in said
    assert f"did you mean '{meant}'?" in said


def test_what_is_like_nothing_is_refused_in_a_nodes_own_section_with_what_there_is(tmp_path):
    said = problem(tmp_path, {"/left/policy_node": section(xyzzy=1)})
    assert "no parameter 'xyzzy' of /left/policy_node, but cameras, joints, period" in said


@pytest.mark.parametrize(
    "content",
    [
        {"/**": section(frame_id="map", image_width=64, baud=9, use_sim_time=True)},
        {"/**": section(qos_overrides={"/joint_states": {"subscription": {"depth": 1}}})},
        {"/right/**": section(peirod=1), "/right/policy_node": section(any_name=1)}
        | {"/left/policy_node": section(period=0.1)},
        {"amcl": section(alpha=1), "controller_manager": section(update_rate=9)},
        # Others of the suite, and second nodes of the same kind.
        {"record_node": section(fps=9), "executor_node": section(rate=9.0)},
        {"policy_node_b": section(x=1), "/left/policy_node2": section(x=1)},
        {"right_policy_node": section(x=1)},
        "", "camera:\n", "/**:\n  ros__parameters:\n", "a: {ros__parameters: {b: !mine 1}}",
    ],
)  # fmt: skip
def test_what_may_be_for_others_is_left_alone(tmp_path, content):
    assert problem(tmp_path, content) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "mine.yaml: it holds a list; "),
        ("period: 0.1", "mine.yaml: 'period' stands outside of 'ros__parameters'; "),
        ("left:\n  ros__paramters: {period: 0.1}", "'period' stands outside of 'ros__parameters'"),
        ("a: {ros__parameters: {b: 1}, period: 3}", "'period' stands outside"),
        ("/**:\n  ros__parameters:\n\tperiod: 0.1", "mine.yaml, line 3: this is not YAML: "),
        ("a: [", "mine.yaml, line 1: this is not YAML: "),
    ],
)
def test_what_is_no_parameter_file_is_reported_with_its_place(tmp_path, content, message):
    assert message in problem(tmp_path, content)
    # ROS refuses it, too.
    with pytest.raises(RuntimeError, match=r"mine\.yaml"):
        rclpy.init(
            args=["--ros-args", "--params-file", str(written(tmp_path, content))],
            context=rclpy.Context(),
        )


@pytest.mark.parametrize("key", ["polcy_node", "/left/policynode", "/**/PolicyNode"])
def test_a_misspelled_node_is_named_with_what_would_match(tmp_path, key):
    said = problem(tmp_path, {key: section(period=0.1)})
    assert "did you mean 'policy_node'?" in said
    assert "write '/left/policy_node' or, for every namespace, '/**/policy_node'" in said
    other = {"/left/executor_node": ["rate"]}
    assert problem(tmp_path, {key: section(period=0.1)}, other) == ""  # it says so itself


@pytest.mark.parametrize(
    "content",
    [
        {"policy_node": section(period=0.1)},
        {"/policy_node": section(period=0.1)},
        {"/right/policy_node": section(period=0.1)},
        {"right": {"policy_node": section(period=0.1)}},
    ],
)
def test_a_section_that_matches_no_node_is_named_with_what_would(tmp_path, content):
    said = problem(tmp_path, content)
    assert "policy_node, and none is for /left/policy_node: " in said
    assert "write '/left/policy_node' or, for every namespace, '/**/policy_node'" in said
    assert problem(tmp_path, content | {"/*/policy_node": section(period=0.1)}) == ""


def test_sections_may_be_nested_and_names_dotted(tmp_path):
    nested = {"left": {"policy_node": section(sensor={"raet": 1})}}
    nodes = {"/left/policy_node": ["sensor.rate"]}
    assert "'sensor.raet' of /left/policy_node; did you mean 'sensor.rate'" in problem(
        tmp_path, nested, nodes
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "seed:=1"], ""),
        (["-p", "arm_node:seed:=1", "-p", "use_sim_time:=true"], ""),
        (
            ["-p", "sede:=1"],
            "-p sede: there is no parameter 'sede' of /arm_node; did you mean 'seed'?",
        ),
        (["--param", "arm_node:tsak:=1"], "'tsak' of /arm_node; did you mean 'task'?"),
        (["-p", "amr_node:task:=1"], "there is no such node here, but /arm_node"),
        (["-p", "seed=1"], "-p seed=1: a parameter is given as name:=value"),
        (
            ["-r", "__ns:=/a/b", "-r", "__node:=c", "-p", "xyzzy:=1"],
            "no parameter 'xyzzy' of /a/b/c",
        ),
        (["-p", "seed:=1", "--", "-p", "sede:=1"], ""),
        ([], ""),
    ],
)
def test_the_command_line(arguments, message):
    nodes = {"arm_node": ["seed", "task"]}
    if not message:
        check_arguments([], nodes)
        check_arguments(["--quiet", "--ros-args", *arguments], nodes)
        return
    with pytest.raises(ValueError, match=r".") as refused:
        check_arguments(["--quiet", "--ros-args", *arguments], nodes)
    assert message in str(refused.value)


def test_a_name_of_before_leads_to_the_present_one():
    with pytest.raises(ValueError, match="there is no parameter 'g' of /e; it has become "):
        check_arguments(["--ros-args", "-p", "g:=0.5"], {"e": settings_of(ExecutorSettings)})


def test_a_parameter_file_on_the_command_line_and_a_remapped_name(tmp_path):
    file = written(tmp_path, {"/a/c": section(tsak=1)})
    arguments = ["--ros-args", "-r", "__ns:=/a", "-r", "arm_node:__node:=c"]
    with pytest.raises(ValueError, match=r"'tsak' of /a/c; did you mean 'task'"):
        check_arguments([*arguments, "--params-file", str(file)], {"arm_node": ["task"]})


def test_a_parameter_file_that_is_not_there(tmp_path):
    missing = tmp_path / "polcy.yaml"
    with pytest.raises(ValueError, match=rf"file {missing}: No such file or directory$"):
        check_arguments(["--ros-args", "--params-file", str(missing)], {"arm_node": ["task"]})


def test_no_parameter_of_the_suite_is_taken_for_a_typing_error_of_another_nodes(tmp_path):
    from smolvla_sim.node.parameters import SimSettings

    names = {
        "/policy_node": policy_parameters(),
        "/executor_node": settings_of(ExecutorSettings),
        "/record": settings_of(RecordSettings),
        "/visualization_node": settings_of(VisualizationSettings),
        "/sim_node": settings_of(SimSettings),
    }
    for one, other in itertools.permutations(names, 2):
        shared = {"/**": section(**dict.fromkeys(names[one], 1))}
        assert problem(tmp_path, shared, {other: names[other]}) == ""


@pytest.mark.parametrize(
    ("package", "name", "arguments", "message"),
    [
        ("smolvla_policy", "policy_node", ["-p", "perod:=0.1"], "did you mean 'period'"),
        ("smolvla_learning", "record_node", ["-p", "fsp:=15"], "did you mean 'fps'"),
        ("smolvla_executor", "executor_node", ["-p", "rate:=[1, x"], ""),
    ],
)
def test_a_process_ends_with_one_line(package, name, arguments, message):
    ended = subprocess.run(
        [sys.executable, "-m", f"{package}.{name}.node", "--ros-args", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == os.EX_CONFIG
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sum(line.startswith(f"{name}: ") for line in ended.stderr.splitlines()) == 1
