# SPDX-License-Identifier: Apache-2.0
"""What may be chosen at the start, on the command line and as launch argument."""

from __future__ import annotations

import argparse

import pytest
from smolvla_bringup.system.node_list import policy_nodes
from smolvla_bringup.system.options import (
    PARTS,
    Options,
    SetupError,
    add_arguments,
    from_arguments,
)
from smolvla_core.settings import settings_of


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "scripted", "checkpoint": "x"}, "reads no checkpoint"),
        ({"hardware": "toaster"}, "hardware is toaster, which is not one of real, mock, sim"),
        ({"view": "toaster"}, "view is toaster, which is not one of rviz, rerun, none"),
        ({"rerun": "screen"}, "rerun is 'screen', but must be window, browser or a file"),
        ({"rerun": "window", "view": "rviz"}, "and view is 'rviz'; leave out one of the two"),
        ({"output": "torque"}, "one of forward, joint_trajectory"),
        ({"aggregate": "mean"}, "one of auto, latest, weighted"),
        ({"hardware": "sim", "output": "joint_trajectory"}, "simulation takes no trajectories"),
        ({"rate": 0.0}, "rate is 0.0, but must be from 1 up to 1000"),
        ({"rate": 2000.0}, "up to 1000"),
        ({"chunk_size_threshold": 1.5}, "but must be from -1 up to 1"),
        ({"seed": -1}, "0 or more"),
        ({"namespace": "left arm"}, "'left arm'; it must be of letters"),
        ({"namespace": "/arms/2nd"}, "none of which begins with a digit"),
        ({"namespace": "a//b"}, "'a//b'; it must be"),
        ({"parent_frame": "/bench"}, "'/bench'; a frame's name has no space and no slash"),
        ({"parent_frame": "my bench"}, "'my bench'; a frame's name"),
        ({"xyz": "0.1 0"}, "xyz is '0.1 0'; it must be three numbers"),
        ({"xyz": "0,1,2"}, "xyz is '0,1,2'; it must be three numbers"),
        ({"hardware": "sim", "policy": "none", "plan": True}, "a plan needs a policy"),
        ({"rpy": "0 0 nan"}, "rpy is '0 0 nan'; it must be three numbers"),
    ],
)
def test_wrong_values_and_contradictions_are_explained(values: dict, message: str) -> None:
    with pytest.raises(SetupError, match=message) as caught:
        Options(**values)
    assert "\n" not in str(caught.value)


def test_launch_texts_and_command_line_give_the_same_options() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = ["--hardware", "sim", "--seed", "3", "--rate", "60", "--viewer", "--no-autostart"]
    line += ["--policy", "none", "--view", "none"]
    texts = {"hardware": "sim", "seed": "3", "rate": "60", "viewer": "true"}
    texts |= {"autostart": "False", "policy": "none", "view": "none"}
    wanted = Options(
        hardware="sim",
        seed=3,
        rate=60.0,
        viewer=True,
        autostart=False,
        policy="none",
        view="none",
    )
    assert from_arguments(parser.parse_args(line)) == wanted
    assert Options.from_text({**texts, "aggregate": "", "checkpoint": ""}) == wanted
    assert from_arguments(parser.parse_args([])) == Options.from_text({}) == Options()
    with pytest.raises(SetupError, match="seed is three, but must be a whole number"):
        Options.from_text({"seed": "three"})


def test_what_a_program_decides_itself_wins_over_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--hardware", "real", "--seed", "3"])
    assert from_arguments(arguments, hardware="sim") == Options(hardware="sim", seed=3)


def test_a_calibration_is_a_path_or_an_id_by_the_rule_of_the_tools() -> None:
    for path in ("~/arm.json", "arm.json", "folder/arm"):
        with pytest.raises(SetupError, match=r"no such calibration /[^~]*arm"):
            Options(calibration=path).existing_calibration()
    assert Options(calibration="my_arm").existing_calibration() == "my_arm"
    assert Options().existing_calibration() == ""


def test_namespace_is_taken_with_and_without_slashes() -> None:
    for text in ("left", "/left", "/left/"):
        options = Options(namespace=text)
        assert options.node_namespace == "left"
        assert options.frame_prefix == "left/"
    assert Options(namespace="/cell_1/left2").node_namespace == "cell_1/left2"
    assert Options().frame_prefix == ""


def test_each_option_is_for_some_parts() -> None:
    for name, option in settings_of(Options).items():
        assert option.tags, name
        assert set(option.tags) <= set(PARTS), name


def test_parameters_of_a_backend_are_options_too() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = ["--policy", "smolvla", "--noise-scale", "0.25", "--real-time-chunking", "off"]
    wanted = Options(backend={"noise_scale": 0.25, "real_time_chunking": "off"})
    assert from_arguments(parser.parse_args(line)) == wanted
    texts = {"noise_scale": "0.25", "real_time_chunking": "off", "device": ""}
    assert Options.from_text(texts) == wanted
    policy = policy_nodes(Options(policy="scripted", hardware="sim", backend={"chunk_size": 7}))[0]
    assert policy.parameters["chunk_size"] == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"policy": "scripted", "backend": {"noise_scale": 0.5}},
            "'scripted' has no parameter",
        ),
        ({"backend": {"noise_scale": 1.5}}, "noise_scale is 1.5, but must be from 0 up to 1"),
    ],
)
def test_a_parameter_that_the_backend_does_not_have_is_named(values: dict, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        Options(**values)
