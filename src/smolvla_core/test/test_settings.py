# SPDX-License-Identifier: Apache-2.0
import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from smolvla_core.console import command_parser
from smolvla_core.node_settings import RobotSettings
from smolvla_core.settings import (
    REQUIRED,
    SettingError,
    Settings,
    add_arguments,
    commented_yaml,
    from_arguments,
    from_texts,
    from_values,
    live_setting,
    renamed,
    setting,
    settings_of,
    table_rows,
)


@dataclass(frozen=True, kw_only=True)
class Mixer(Settings):
    recipe: str = setting(REQUIRED, "What to mix.")
    turns: int = setting(12, "Turns of one batch.", 1, 40)
    warm_up: float = live_setting(1.5, "Time before the first turn [s].", above=0, upper=9)
    weights: tuple[float, ...] = setting((0.25, 4.0), "Of the parts [kg].", above=0)
    mode: str = setting("stir", "100 % of the", choices={"stir": 1, "fold": 2})
    aggregate: str = setting("a b", "A text.")
    quiet: bool = setting(False, "Without a sound.")
    seed: int | None = setting(None, "Of the order; default: another one each time.", 0)
    log: Path | None = setting(None, "Where to write.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet and self.mode == "fold":
            raise SettingError("quiet", "cannot be had with mode fold")


def error_of(**values) -> str:
    with pytest.raises(SettingError) as caught:
        Mixer(**{"recipe": "dough", **values})
    return str(caught.value)


def parse(*arguments: str) -> Mixer:
    parser = command_parser("mix", "Mix.", "mix --recipe dough")
    add_arguments(parser, Mixer)
    return from_arguments(Mixer, parser.parse_args(["--recipe", "dough", *arguments]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"turns": 41}, "turns is 41, but must be from 1 up to 40"),
        ({"turns": 2.0}, "turns is 2.0, but must be a whole number"),
        ({"turns": True}, "turns is true, but must be a whole number"),
        ({"warm_up": 0}, "warm_up is 0.0, but must be above 0 up to 9"),
        ({"warm_up": math.nan}, "warm_up is nan, but must be a finite number"),
        ({"weights": [1, 2.0, -1.0]}, "weights[2] is -1.0, but must be above 0"),
        ({"weights": [math.inf]}, "weights[0] is inf, but must be a finite number"),
        ({"weights": "12"}, 'weights[0] is "12", but must be a number'),
        ({"mode": "beat"}, "mode is beat, which is not one of stir, fold"),
        ({"quiet": 1}, "quiet is 1, but must be true or false"),
        ({"seed": -1}, "seed is -1, but must be 0 or more"),
        ({"quiet": True, "mode": "fold"}, "quiet cannot be had with mode fold"),
    ],
)
def test_settings_that_do_not_fit_are_refused_under_their_names(values, message):
    assert error_of(**values) == message


def test_values_become_what_is_declared():
    mixer = Mixer(recipe="dough", warm_up=2, weights=3, log="here")
    assert (mixer.warm_up, mixer.weights, mixer.log) == (2.0, (3.0,), Path("here"))
    assert isinstance(mixer.warm_up, float)
    assert replace(mixer, turns=3).weights == (3.0,)


def test_the_command_line_takes_what_is_declared():
    mixer = parse("--warm-up", "3", "--weights", "1", "2.5", "--quiet", "--seed", "0")
    assert mixer == Mixer(recipe="dough", warm_up=3, weights=(1, 2.5), quiet=True, seed=0)
    assert parse() == Mixer(recipe="dough")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--turns", "0"), "argument --turns: is 0, but must be from 1 up to 40"),
        (("--turns", "x"), "argument --turns: is x, but must be a whole number"),
        (("--weights", "1", "-2"), "argument --weights: is -2.0, but must be above 0"),
        (("--mode", "beat"), "argument --mode: is beat, which is not one of stir, fold"),
        (("--blend", "latest"), "--blend has become --aggregate"),
    ],
)
def test_a_wrong_option_ends_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"mix: {message} (mix --help shows all)\n"


def test_options_that_contradict_each_other_are_named_as_typed():
    with pytest.raises(SettingError, match=r"^--quiet cannot be had"):
        parse("--quiet", "--mode", "fold")


def test_help_shows_default_range_and_choices(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    assert "--warm-up FLOAT" in text
    assert "[s]. (above 0 up to 9; default: 1.5)" in text
    assert "100 % of the (one of stir, fold; default: stir)" in text
    assert "--quiet, --no-quiet" in text
    assert "--blend" not in text


def test_some_of_the_settings_with_the_defaults_of_an_object(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    base = Mixer(recipe="cake", turns=7)
    parser = argparse.ArgumentParser()
    add_arguments(parser, base, ("turns", "mode"))
    assert from_arguments(base, parser.parse_args(["--mode", "fold"])) == replace(
        base, mode="fold"
    )
    assert from_arguments(base, parser.parse_args([]), seed=5).seed == 5
    assert "default: 7" in parser.format_help()
    assert "--weights" not in parser.format_help()


def test_texts_of_launch_arguments():
    texts = {"recipe": "dough", "weights": "[1, 2.5]", "quiet": "True", "turns": "", "other": "1"}
    assert from_texts(Mixer, texts) == Mixer(recipe="dough", weights=(1, 2.5), quiet=True)
    with pytest.raises(SettingError, match=r"^quiet is perhaps, but must be true or false$"):
        from_texts(Mixer, {"recipe": "dough", "quiet": "perhaps"})
    with pytest.raises(SettingError, match=r"^recipe must be given$"):
        from_values(Mixer, {"turns": 3})


def test_the_yaml_file_says_the_defaults():
    text = commented_yaml(Mixer, "/mixer")
    values = yaml.safe_load(text)["/mixer"]["ros__parameters"]
    assert values["weights"] == [0.25, 4.0]
    assert values["quiet"] is False
    assert values["aggregate"] == "a b"
    assert "    # Turns of one batch. (from 1 up to 40)\n    turns: 12\n" in text


def test_the_table_says_type_default_and_range():
    rows = {row[0]: row[1:] for row in table_rows(Mixer)}
    assert rows["weights"] == ("double array", "[0.25, 4.0]", "above 0", "Of the parts [kg].")
    assert rows["mode"][:3] == ("string", "stir", "stir, fold")


def test_a_name_of_before_leads_to_the_present_one():
    assert renamed("aggregation", settings_of(Mixer)) == "it has become 'aggregate'"
    assert renamed("g", settings_of(Mixer)) == ""  # there is no such setting here
    present = "it stands in the robot file now, as joints: robot:=FILE"
    assert renamed("joints", settings_of(RobotSettings)) == present
    assert renamed("turns", settings_of(Mixer)) == ""
