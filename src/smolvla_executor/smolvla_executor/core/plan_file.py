# SPDX-License-Identifier: Apache-2.0
"""Plans as YAML files.

time_limit: 30            # of every step that does not say its own, like tries and judge
steps:
  - put the red cube into the bowl
  - instruction: put the blue cube into the bowl
    tries: 3
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from smolvla_core.settings import instead_of

from smolvla_executor.core.plan import PlanError, Step

STEPS = "steps"
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "instruction": ((str,), "a sentence"),
    "time_limit": ((int, float), "a number of seconds"),
    "tries": ((int,), "a whole number"),
    "judge": ((str,), "the name of a judge"),
    "judge_options": ((dict,), "options of the judge, as 'name: value' below it"),
}


def read_plan(path: Path) -> tuple[Step, ...]:
    """Return the steps of a file.

    Raises:
        PlanError: it cannot be read or is no plan; the text names file and step.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return _steps(content)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def _steps(content: Any) -> tuple[Step, ...]:
    usual = {}
    if isinstance(content, Mapping):
        content = dict(content)
        steps = content.pop(STEPS, None)
        usual = _checked(content, [name for name in _KINDS if name != "instruction"], [STEPS])
    else:
        steps = content
    if not isinstance(steps, list) or not steps:
        raise PlanError(
            f"it needs a list '{STEPS}' of at least one sentence, each in a line of its own with "
            "a dash in front"
        )
    made = []
    for number, step in enumerate(steps, 1):
        try:
            own = {"instruction": step} if isinstance(step, str) else step
            if not isinstance(own, Mapping):
                raise PlanError("it is neither a sentence nor a mapping with an 'instruction'")
            own = _checked(own, list(_KINDS))
            if "instruction" not in own:
                raise PlanError("it has no 'instruction'")
            # Options are those of one judge.
            rest = {**usual, "judge_options": ()} if "judge" in own else usual
            made.append(Step(**{**rest, **own}))
        except PlanError as error:
            raise PlanError(f"step {number}: {error}") from error
    return tuple(made)


def _checked(
    given: Mapping[Any, Any], known: list[str], beside: list[str] | None = None
) -> dict[str, Any]:
    """Return the values of fields of `Step`.

    Raises:
        PlanError: one is unknown or of another type.
    """
    values = {}
    for name, value in given.items():
        if name not in known:
            hint = instead_of(str(name), [*known, *(beside or [])])
            raise PlanError(f"there is no '{name}'; {hint}")
        kinds, noun = _KINDS[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise PlanError(f"its {name} is {value!r}, but must be {noun}")
        if isinstance(value, dict):
            value = tuple(f"{key}={one}" for key, one in value.items())
        values[name] = float(value) if name == "time_limit" else value
    return values
