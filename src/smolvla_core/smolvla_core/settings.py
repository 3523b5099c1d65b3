# SPDX-License-Identifier: Apache-2.0
"""Every setting is declared once: default, description with unit, range and choices.

    @dataclass(frozen=True, kw_only=True)
    class LoopSettings(Settings):
        rate: float = setting(30.0, "Rate of the control loop [Hz].", 1, 1000)
        max_speed: tuple[float, ...] = setting((3.0,), "Speed of each joint [rad/s].", above=0)

From the one declaration come ROS parameters (`smolvla_core.ros.parameters`), command lines
(`add_arguments`, `from_arguments`), launch arguments (`from_texts`), commented YAML and the
reference page. An object of such a class is valid: making one raises `SettingError` under the
name that the user typed. An ``int``, ``float``, ``str``, ``bool`` or ``Path``, a tuple of them
(``tuple[float, ...]``, for which one value stands for a tuple of one) and ``| None`` are checked.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import functools
import json
import math
import numbers
import re
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

_ROBOT_FILE = {
    "calibration_file": "calibration",
    "camera_topic": "topic of a camera",
    "cameras_file": "cameras",
    "gripper_range": "closed and open of the gripper",
    "joint_names": "joints",
    "joint_signs": "sign of a joint",
    "joints": "joints",
    "lower_limits": "lower of a joint",
    "model": "model",
    "robot_type": "robot_type",
    "upper_limits": "upper of a joint",
}
RENAMED: dict[str, str] = {
    "aggregation": "aggregate",
    "blend": "aggregate",
    "cameras": "num_cameras",
    "dtypes": "dtype",
    "first_seed": "seed",
    "g": "chunk_size_threshold",
    "no_rviz": "view",
    "out": "output",
    "rviz": "view",
    "seconds": "time_limit",
    "seeds": "episodes",
    **dict.fromkeys(_ROBOT_FILE, "robot"),
}
"""Names of parameters, launch arguments and options that were in use -> the present ones."""

REQUIRED = dataclasses.MISSING
"""Default of a setting that must be given."""


class SettingError(ValueError):
    """A setting cannot be what it is; the text names it, its value and what it may be.

    Args:
        name: of the setting or of the element of a list, such as ``max_speed[2]``.
        problem: the rest of the sentence.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"{name} {problem}")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One declared setting; see `setting` for what is not said here.

    Attributes:
        kind: type of the value, or of each element of a list.
        is_list: whether it is a tuple of `kind`.
        optional: whether it may be None.
    """

    description: str
    lower: float | None
    upper: float | None
    above: float | None
    choices: tuple[Any, ...]
    live: bool
    fixed: bool
    tags: tuple[str, ...]
    name: str = ""
    default: Any = None
    kind: type = str
    is_list: bool = False
    optional: bool = False

    def check(self, value: Any) -> Any:
        """Return `value` as its type: whole numbers as floats, lists as tuples.

        Raises:
            SettingError: it is of another type, outside the range or none of the choices.
        """
        if value is None and self.optional:
            return value
        if not self.is_list:
            return self._check_one(value, self.name)
        single = isinstance(value, (str, Path)) or not isinstance(value, typing.Iterable)
        return tuple(
            self._check_one(one, f"{self.name}[{index}]")
            for index, one in enumerate((value,) if single else value)
        )

    def parse(self, text: str) -> Any:
        """Return the value that `text` stands for; elements of a list have spaces or commas
        between them.

        Raises:
            SettingError: see `check`.
        """
        if self.is_list:
            return self.check(
                [self.parse_one(part) for part in re.split(r"[\s,]+", text.strip(" []"))]
            )
        return self.parse_one(text)

    def parse_one(self, text: str) -> Any:
        """Return the value, or the element of a list, that `text` stands for.

        Raises:
            SettingError: see `check`.
        """
        value: Any = text
        if self.kind is bool:
            value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        elif self.kind in (int, float):
            with contextlib.suppress(ValueError):  # `_check_one` says what is wrong
                value = self.kind(text)
        return self._check_one(value, self.name)

    def _check_one(self, value: Any, name: str) -> Any:
        wanted: Any = {int: numbers.Integral, float: numbers.Real, Path: (str, Path)}.get(
            self.kind, self.kind
        )
        if not isinstance(value, wanted) or (isinstance(value, bool) and self.kind is not bool):
            nouns = {bool: "true or false", int: "a whole number", float: "a number"}
            raise SettingError(
                name, f"is {written(value)}, but must be {nouns.get(self.kind, 'a text')}"
            )
        value = self.kind(value)
        if self.choices and value not in self.choices:
            raise SettingError(
                name, f"is {written(value)}, which is not one of {self.choices_text()}"
            )
        if self.kind is float and not math.isfinite(value):
            raise SettingError(name, f"is {value}, but must be a finite number")
        if (
            (self.lower is not None and value < self.lower)
            or (self.upper is not None and value > self.upper)
            or (self.above is not None and value <= self.above)
        ):
            raise SettingError(name, f"is {value}, but must be {self.range_text()}")
        return value

    def choices_text(self) -> str:
        """Return the choices as text; empty where there are none."""
        return ", ".join(map(written, self.choices))

    def range_text(self) -> str:
        """Return the range of its numbers as text; empty for any."""
        low = f"from {self.lower:g}" if self.lower is not None else ""
        low = f"above {self.above:g}" if self.above is not None else low
        high = f"up to {self.upper:g}" if self.upper is not None else ""
        if low and not high:
            return low if self.above is not None else f"{self.lower:g} or more"
        return " ".join(part for part in (low, high) if part)

    def help(self) -> str:
        """Return description, choices, range and default."""
        facts = [f"one of {self.choices_text()}"] if self.choices else []
        facts += [self.range_text()] if self.range_text() else []
        if self.default not in (REQUIRED, None, "", ()):
            facts.append(f"default: {written(self.default)}")
        return self.description + (f" ({'; '.join(facts)})" if facts else "")


def setting(
    default: Any,
    description: str,
    lower: float | None = None,
    upper: float | None = None,
    *,
    above: float | None = None,
    choices: Iterable[Any] = (),
    live: bool = False,
    fixed: bool = False,
    tags: Iterable[str] = (),
) -> Any:
    """Declare a field of a `Settings` class.

    Args:
        default: its value where nothing is given, or `REQUIRED`.
        description: what it does, with the unit in brackets.
        lower, upper: inclusive range of a number, or of each element of a list.
        above: exclusive lower bound.
        choices: the allowed values, or those of each element; of a dict its keys.
        live: a ROS parameter that takes effect at once, also while the node runs.
        fixed: a ROS parameter that can be given at the start of the process only.
        tags: what it is for, where a program shows some settings only.
    """
    declared = Setting(description, lower, upper, above, tuple(choices), live, fixed, tuple(tags))
    return dataclasses.field(default=default, metadata={"setting": declared})


live_setting = functools.partial(setting, live=True)
"""A `setting` whose ROS parameter takes effect at once."""


def same(
    source: type[Settings],
    name: str,
    default: Any,
    tags: Iterable[str] = (),
    note: str = "",
    live: bool = False,
) -> Any:
    """Declare a field with the meaning, range and choices that it has in another class.

    Args:
        source: the other class.
        name: of the field there.
        default: its value here.
        tags: see `setting`.
        note: follows the description.
        live: whether it takes effect at once here, even if it does not there.
    """
    declared = settings_of(source)[name]
    text = f"{declared.description} {note}".strip()
    live = live or declared.live
    meta = dataclasses.replace(
        declared, description=text, tags=tuple(tags), live=live, default=None
    )
    return dataclasses.field(default=default, metadata={"setting": meta})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of classes whose fields are declared by `setting`.

    A subclass that has more to check, such as two fields that contradict each other, extends
    ``__post_init__``.

    Raises:
        SettingError: a value does not fit.
    """

    def __post_init__(self) -> None:
        for name, declared in settings_of(type(self)).items():
            object.__setattr__(self, name, declared.check(getattr(self, name)))


AnySettings = TypeVar("AnySettings", bound=Settings)


@functools.cache
def _declared(cls: type[Settings]) -> dict[str, Setting]:
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        declared = field.metadata.get("setting")
        if declared is None:
            continue
        kinds = typing.get_args(hints[field.name]) or (hints[field.name],)
        if isinstance(hints[field.name], types.UnionType):
            optional, kind = type(None) in kinds, kinds[0]
        else:
            optional, kind = False, hints[field.name]
        is_list = typing.get_origin(kind) is tuple
        if is_list:
            kind = typing.get_args(kind)[0]
        found[field.name] = dataclasses.replace(
            declared,
            name=field.name,
            default=field.default,
            kind=kind,
            is_list=is_list,
            optional=optional,
        )
    return found


def settings_of(
    source: type[Settings] | Settings, names: Collection[str] | None = None
) -> dict[str, Setting]:
    """Return what `source` declares by name, all or those in `names`.

    Args:
        source: a class, or an object of one, whose values are the defaults then.
        names: which; their order counts for nothing.
    """
    cls = source if isinstance(source, type) else type(source)
    return {
        name: declared
        if isinstance(source, type)
        else dataclasses.replace(declared, default=getattr(source, name))
        for name, declared in _declared(cls).items()  # type: ignore[arg-type]
        if names is None or name in names
    }


def from_values(source: type[AnySettings] | AnySettings, values: Mapping[str, Any]) -> AnySettings:
    """Return settings with those of `values` that they have; the others keep their defaults.

    Args:
        source: see `settings_of`.
        values: by name; names that the settings do not have are for somebody else.

    Raises:
        SettingError: a value does not fit, or one that is required is missing.
    """
    cls = source if isinstance(source, type) else type(source)
    given = {}
    for name, declared in settings_of(source).items():
        given[name] = values.get(name, declared.default)
        if given[name] is REQUIRED:
            raise SettingError(name, "must be given")
    return cls(**given)


def from_texts(source: type[AnySettings] | AnySettings, texts: Mapping[str, str]) -> AnySettings:
    """Return settings from texts, as launch arguments are; an empty text keeps the default.

    Raises:
        SettingError: see `from_values`.
    """
    declared = settings_of(source)
    given = {name: text for name, text in texts.items() if name in declared and text}
    return from_values(source, {name: declared[name].parse(text) for name, text in given.items()})


# On the command line.


def flag(name: str) -> str:
    """Return the option of a setting: ``request_timeout`` is ``--request-timeout``."""
    return f"--{name.replace('_', '-')}"


class _Renamed(argparse.Action):
    """An option of an earlier version: an error that names the present one."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:  # type: ignore[override]
        old = self.option_strings[0]
        entry = _ROBOT_FILE.get(old.removeprefix("--").replace("-", "_"))
        robot_file = f"stands in the robot file now, as {entry}: {flag(self.const)} FILE"
        parser.error(f"{old} {robot_file if entry else f'has become {flag(self.const)}'}")


def add_arguments(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    source: type[Settings] | Settings,
    names: Collection[str] | None = None,
) -> None:
    """Give `parser` one option for each setting; what is not given leaves no trace in the result.

    Args:
        parser: or a group of one.
        source, names: see `settings_of`.
    """
    add_declared(parser, settings_of(source, names))


def add_renamed(parser: argparse.ArgumentParser, known: Collection[str]) -> None:
    """Give `parser` an error for each earlier name of the settings `known`."""
    for old, new in RENAMED.items():
        if new in known and old not in known:
            parser.add_argument(
                flag(old), action=_Renamed, nargs="*", const=new, dest=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
            )  # fmt: skip


def add_declared(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, declared: Mapping[str, Setting]
) -> None:
    """Give `parser` one option for each of `declared`; see `add_arguments`."""
    for name, one in declared.items():
        common: dict[str, Any] = {
            "dest": name,
            "default": argparse.SUPPRESS,
            "required": one.default is REQUIRED,
            "help": one.help().replace("%", "%%"),
        }
        if one.kind is bool and not one.is_list:
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, **common)
            continue
        if one.is_list:
            common |= {"nargs": "+", "action": "extend"}  # also where it is given twice
        common["choices"] = one.choices or None  # for completion in a shell
        metavar = name.upper() if one.kind in (str, Path) else one.kind.__name__.upper()
        parser.add_argument(flag(name), type=_argument(one), metavar=metavar, **common)


def _argument(declared: Setting) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return declared.parse_one(text)
        except SettingError as error:
            raise argparse.ArgumentTypeError(error.problem) from error

    return parse


def from_arguments(
    source: type[AnySettings] | AnySettings, arguments: argparse.Namespace, **fixed: Any
) -> AnySettings:
    """Return the settings that `arguments` holds; the others keep their defaults.

    Args:
        source: see `settings_of`.
        arguments: of a parser with `add_arguments`; names that are no settings are left alone.
        fixed: values that the program decides itself; they win.

    Raises:
        SettingError: values do not fit; the text names the option.
    """
    try:
        return from_values(source, {**vars(arguments), **fixed})
    except SettingError as error:
        raise SettingError(flag(error.name), error.problem) from error


# For readers.


def renamed(name: str, known: Collection[str]) -> str:
    """Return the present name of what was called `name`; empty where it never was, or still is."""
    new = RENAMED.get(name, "")
    if new not in known or name in known:
        return ""
    if name in _ROBOT_FILE:
        return f"it stands in the robot file now, as {_ROBOT_FILE[name]}: {new}:=FILE"
    return f"it has become '{new}'"


def nearest(name: str, known: Iterable[str], ratio: float = 0.6) -> str:
    """Return the name that was probably meant by `name`; empty where none is alike enough.

    Args:
        name: that is not known.
        known: the names to choose from.
        ratio: how alike the two must be, 0..1 (difflib's ratio).
    """

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    if len(name) > 2:
        for other in known:
            if sorted(other) == sorted(name):  # "fsp": difflib finds it little alike
                return other
    meant = {plain(other): other for other in known}
    found = difflib.get_close_matches(plain(name), meant, 1, ratio)
    return meant[found[0]] if found else ""


def instead_of(name: str, known: Collection[str]) -> str:
    """Return what to write instead of `name`, which is none of `known`: the rest of a message."""
    if text := renamed(name, known):
        return text
    meant = nearest(name, known)
    return f"did you mean '{meant}'?" if meant else f"there are {', '.join(known)}"


def written(value: Any) -> str:
    """Return a value as one types it in YAML."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, (str, Path)):
        name = re.fullmatch(r"[A-Za-z_][\w./-]*", str(value))
        plain = name and str(value).lower() not in _RESERVED
        return str(value) if plain else json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


_RESERVED = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # of YAML, no texts


def commented_yaml(source: type[Settings] | Settings, node: str = "/**") -> str:
    """Return a ROS parameter file with every setting at its default and its description."""
    lines = [f"{node}:", "  ros__parameters:"]
    for name, declared in settings_of(source).items():
        bare = dataclasses.replace(declared, default=None)
        lines += [f"    # {line}" for line in textwrap.wrap(bare.help(), 92)]
        default = "" if declared.default is REQUIRED else declared.default
        lines.append(f"    {name}: {written(default)}")
    return "\n".join(lines) + "\n"


def table_rows(source: type[Settings] | Settings) -> list[tuple[str, str, str, str, str]]:
    """Return name, type, default, range or choices, and description of each setting."""
    rows = []
    for name, declared in settings_of(source).items():
        kind = {str: "string", Path: "string", int: "integer", float: "double"}.get(
            declared.kind, declared.kind.__name__
        )
        rows.append(
            (
                name,
                f"{kind} array" if declared.is_list else kind,
                "" if declared.default in (REQUIRED, None) else written(declared.default),
                declared.choices_text() or declared.range_text(),
                declared.description,
            )
        )
    return rows
