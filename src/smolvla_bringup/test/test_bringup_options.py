# SPDX-License-Identifier: Apache-2.0
"""What may be chosen at the start, on the command line and as launch argument."""

from __future__ import annotations

import argparse
import dataclasses

import pytest
from smolvla_bringup.system.option_arguments import add_arguments, from_arguments
from smolvla_bringup.system.options import PARTS, Options, SetupError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "scripted", "checkpoint": "x"}, "reads no checkpoint"),
        ({"hardware": "toaster"}, "'toaster', which is not one of: real, mock, sim"),
        ({"model": "so102"}, "one of: so100, so101"),
        ({"output": "torque"}, "one of: forward, joint_trajectory"),
        ({"aggregation": "mean"}, "one of: latest, weighted"),
        ({"hardware": "sim", "output": "joint_trajectory"}, "simulation takes no trajectories"),
        ({"rate": 0.0}, "above 0"),
        ({"rate": 2000.0}, "at most 1000"),
        ({"g": 1.5}, "must lie in 0..1"),
        ({"seed": -1}, "0 or more"),
        ({"namespace": "left arm"}, "'left arm'; it must be of letters"),
        ({"namespace": "/arms/2nd"}, "none of which begins with a digit"),
        ({"namespace": "a//b"}, "'a//b'; it must be"),
        ({"parent_frame": "/bench"}, "'/bench'; a frame's name has no space and no slash"),
        ({"parent_frame": "my bench"}, "'my bench'; a frame's name"),
        ({"xyz": "0.1 0"}, "xyz is '0.1 0'; it must be three numbers"),
        ({"xyz": "0,1,2"}, "xyz is '0,1,2'; it must be three numbers"),
        ({"rpy": "0 0 nan"}, "rpy is '0 0 nan'; it must be three numbers"),
    ],
)
def test_wrong_values_and_contradictions_are_explained(values: dict, words: str) -> None:
    with pytest.raises(SetupError, match=words) as caught:
        Options(**values)
    assert "\n" not in str(caught.value)


def test_launch_texts_and_command_line_give_the_same_options() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = ["--hardware", "sim", "--seed", "3", "--rate", "60", "--viewer", "--no-autostart"]
    line += ["--policy", "none", "--no-rviz"]
    texts = {"hardware": "sim", "seed": "3", "rate": "60", "viewer": "true"}
    texts |= {"autostart": "False", "policy": "none", "rviz": "0"}
    wanted = Options(
        hardware="sim",
        seed=3,
        rate=60.0,
        viewer=True,
        autostart=False,
        policy="none",
        rviz=False,
    )
    assert from_arguments(parser.parse_args(line)) == wanted
    assert Options.from_text({**texts, "g": "", "checkpoint": ""}) == wanted
    assert from_arguments(parser.parse_args([])) == Options.from_text({}) == Options()


def test_what_a_program_decides_itself_wins_over_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--hardware", "real", "--seed", "3"])
    assert from_arguments(arguments, hardware="sim") == Options(hardware="sim", seed=3)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"seed": "three"}, "seed is 'three', which is no number"),
        ({"rviz": "maybe"}, "rviz is 'maybe'; it must be true or false"),
    ],
)
def test_texts_of_the_wrong_kind_are_explained(texts: dict, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        Options.from_text(texts)


def test_a_calibration_is_a_path_or_an_id_by_the_rule_of_the_tools() -> None:
    home = Options(calibration="~/arm.json")
    assert home.calibration_is_path
    assert home.calibration_source.startswith("/")
    assert "~" not in home.calibration_source
    assert Options(calibration="arm.json").calibration_is_path
    assert Options(calibration="folder/arm").calibration_is_path
    named = Options(calibration="my_arm")
    assert not named.calibration_is_path
    assert named.calibration_source == "my_arm"
    assert Options().calibration_source == ""


def test_namespace_is_taken_with_and_without_slashes() -> None:
    for text in ("left", "/left", "/left/"):
        options = Options(namespace=text)
        assert options.node_namespace == "left"
        assert options.frame_prefix == "left/"
        assert options.full_name("controller_manager") == "/left/controller_manager"
    assert Options(namespace="/cell_1/left2").node_namespace == "cell_1/left2"
    assert Options().frame_prefix == ""
    assert Options().full_name("controller_manager") == "/controller_manager"


def test_each_option_says_what_it_is_for() -> None:
    for field in dataclasses.fields(Options):
        assert set(field.metadata["parts"]) <= set(PARTS), field.name
        assert len(field.metadata["description"]) > 10, field.name
