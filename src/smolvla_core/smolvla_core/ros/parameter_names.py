# SPDX-License-Identifier: Apache-2.0
"""Finds typing errors in the names of parameters and of nodes, which ROS ignores.

A node that is given ``perod`` runs with the default of ``period``, and a section ``polcy_node``
of a parameter file is for nobody. Here both are named with what was probably meant. Parameter
files are shared: what may well be for another package's node is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from smolvla_core.settings import nearest, renamed

NODES = (
    "plan_node",
    "policy_node",
    "executor_node",
    "record_node",
    "visualization_node",
    "sim_node",
    "teleop_node",
)
"""The suite's nodes: their names are no typing errors of each other."""

# Declared by rclpy for every node.
_GENERAL = ("use_sim_time", "start_type_description_service")
_GENERAL_PREFIX = "qos_overrides."
# How alike two names are (difflib's ratio) of which one is taken for a typing error of the other:
# a name that can only be meant for this node, and one that may be meant for another.
_SOME, _VERY = 0.6, 0.85


@dataclass(frozen=True)
class _Section:
    """Parameters that were given for some nodes."""

    source: str  # for the text of errors
    pattern: str  # name of a node, perhaps with * and **
    names: tuple[str, ...]
    own: bool = False  # whether it can only be meant for the nodes of this process

    @property
    def base(self) -> str:
        """The node's name without namespace; empty where any node is meant."""
        base = self.pattern.rpartition("/")[2]
        return "" if "*" in base else base

    def matches(self, node: str) -> bool:
        """Whether `node` (fully qualified) is meant; rules of rcl_yaml_param_parser."""
        parts = self.pattern.strip("/").split("/")
        wild = {"**": "(/[^/]+)*", "*": "/[^/]+"}
        return bool(
            re.fullmatch("".join(wild.get(part, f"/{re.escape(part)}") for part in parts), node)
        )


def check_arguments(arguments: Sequence[str], parameters: Mapping[str, Collection[str]]) -> None:
    """Look for typing errors in a command line of ROS and in the parameter files that it names.

    Args:
        arguments: of the process.
        parameters: name of each node in the process, as it is without remapping -> names of its
            parameters.

    Raises:
        ValueError: there are some, or a file cannot be read; the text names each with what was
            probably meant.
    """
    ros = list(_ros_arguments(arguments))
    nodes = {_remapped(name, ros): names for name, names in parameters.items()}
    problems = []
    for flag, value in ros:
        if flag in ("-p", "--param"):
            problems += _problems([_given(flag, value)], nodes)
        elif flag == "--params-file":
            problems += _file_problems(Path(value), nodes)
    _raise(problems)


def check_file(path: Path, parameters: Mapping[str, Collection[str]]) -> None:
    """Look for typing errors in the parameter file `path`, as `check_arguments` does.

    Args:
        path: the file.
        parameters: fully qualified name of each node that gets it -> names of its parameters.
    """
    _raise(_file_problems(path, parameters))


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))


def _file_problems(path: Path, nodes: Mapping[str, Collection[str]]) -> list[str]:
    try:
        content = read_file(path)
    except OSError as error:  # rcl names its own sources in place of the reason
        return [f"parameter file {path}: {error.strerror}"]
    except (UnicodeDecodeError, ConstructorError):
        return []
    except ValueError as error:
        return [str(error)]
    return _problems(list(_sections(str(path), content)), nodes)


def read_file(path: Path) -> dict[str, Any]:
    """Return the content of the parameter file `path`.

    Raises:
        ValueError: it is no parameter file, so that ROS refuses it, too; the text says where.
        OSError, yaml.constructor.ConstructorError: it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ScannerError, ParserError) as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{where}: this is not YAML: {error.problem}") from error
    outside = next(_outside(content), None)
    if outside is not None:
        raise ValueError(
            f"{path}: {outside}; a parameter stands below its node and 'ros__parameters', as in "
            "/**: {ros__parameters: {rate: 30.0}}"
        )
    return content or {}


def _outside(content: Any) -> Iterator[str]:
    """Yield what stands outside of all ``ros__parameters``."""
    if content is not None and not isinstance(content, dict):
        yield f"it holds a {type(content).__name__}"
    for key, inner in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters":
            continue
        if inner is not None and not isinstance(inner, dict):
            yield f"'{key}' stands outside of 'ros__parameters'"
        yield from _outside(inner) if isinstance(inner, dict) else ()


def _sections(source: str, content: Any, keys: tuple[str, ...] = ()) -> Iterator[_Section]:
    for key, inner in content.items() if isinstance(content, dict) else ():
        if key == "ros__parameters":
            pattern = "".join(f"/{part.strip('/')}" for part in keys)
            yield _Section(source, pattern, tuple(_flat(inner)))
        else:
            yield from _sections(source, inner, (*keys, str(key)))


def _flat(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of nested parameters with dots between the levels."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _given(flag: str, text: str) -> _Section:
    """Return the section that ``[node:]name:=value`` behind `flag` is.

    Raises:
        ValueError: it is none.
    """
    left, separator, _ = text.partition(":=")
    if not separator:
        raise ValueError(f"{flag} {text}: a parameter is given as name:=value")
    node, colon, name = left.rpartition(":")
    pattern = f"/{node.strip('/')}" if colon else "/**"
    return _Section(f"{flag} {left}", pattern, (name,), own=True)


def _ros_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each argument between ``--ros-args`` and ``--`` with the one behind it."""
    inside = False
    for argument, following in pairwise([*arguments, ""]):
        inside = argument == "--ros-args" or (inside and argument != "--")
        if inside:
            yield argument, following


def _remapped(name: str, ros: Sequence[tuple[str, str]]) -> str:
    """Return the fully qualified name that the node `name` gets."""
    base, namespace = name, ""
    for flag, rule in ros:
        match = re.fullmatch(r"(?:([^:]+):)?__(node|ns):=(.*)", rule)
        if flag not in ("-r", "--remap") or not match or match[1] not in (None, name):
            continue
        if match[2] == "node":
            base = match[3]
        else:
            namespace = match[3].strip("/")
    return "/" + "/".join(part for part in (namespace, base) if part)


def _problems(sections: Sequence[_Section], nodes: Mapping[str, Collection[str]]) -> list[str]:
    problems: list[str] = []
    for section in sections:
        meant = {node: names for node, names in nodes.items() if section.matches(node)}
        if meant:
            problems += _unknown(section, meant)
            continue
        if section.own:
            here = " and ".join(nodes)
            problems.append(f"{section.source}: there is no such node here, but {here}")
            continue
        for node in nodes:
            problem = _elsewhere(section, node, sections)
            if problem:
                problems.append(problem)
                break
    return problems


def _unknown(section: _Section, nodes: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield what is wrong with the names in a section that is for `nodes`."""
    known = sorted({*_GENERAL, *(name for names in nodes.values() for name in names)})
    strict = section.own or bool(section.base)
    for name in section.names:
        if name in known or name.startswith(_GENERAL_PREFIX):
            continue
        said = f"{section.source}: there is no parameter '{name}' of {' and '.join(nodes)}"
        if present := renamed(name, known):
            yield f"{said}; {present}"
            continue
        meant = nearest(name, known, _SOME if strict else _VERY)
        if meant:
            others = "" if strict else " If it is another node's, put it under that node's name"
            yield f"{said}; did you mean '{meant}'?{others}"
        elif strict:
            yield f"{said}, but {', '.join(known)}"


def _elsewhere(section: _Section, node: str, sections: Sequence[_Section]) -> str:
    """Return why a section that `node` does not get was probably meant for it, if it was."""
    name = node.rpartition("/")[2]
    for_node = any(other.base and other.matches(node) for other in sections)
    if not section.base or (for_node and section.base == name):
        return ""
    write = f"write '{node}' or, for every namespace, '/**/{name}'"
    if section.base == name:
        return (
            f"{section.source}: a section is for the node {section.pattern}, and none is for "
            f"{node}: {write}"
        )
    # A name of the user's own may well resemble those of other nodes of his.
    others = NODES if name in NODES or for_node else (*NODES, name)
    if section.base in others or nearest(section.base, others, _VERY) != name:
        return ""
    # With a word or a number added, it is the name of a second node.
    added = re.search(rf"(^|_){re.escape(name)}($|_|\d)", section.base)
    if added or re.sub(r"\d", "", section.base) == re.sub(r"\d", "", name):
        return ""
    return (
        f"{section.source}: there is no node '{section.pattern}'; did you mean '{name}'? Then "
        f"{write}"
    )
