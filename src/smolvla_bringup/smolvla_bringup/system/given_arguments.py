# SPDX-License-Identifier: Apache-2.0
"""Which arguments were given to our launch file, be it launched or included, and which are wrong.

``context.argv`` has what the user typed, for whichever launch file; launch's configurations have
what all files around ours have declared and set, for themselves or for others. What was given to
ours alone stands in the include that made it run: ``ros2 launch``, too, includes the file that it
launches.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from launch import LaunchContext
from launch.actions import IncludeLaunchDescription
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from smolvla_core.settings import renamed, settings_of

from smolvla_bringup.system.options import Options, SetupError

# Names of other drivers' launch files that would decide which arm moves, and where.
_HABITS = {
    "use_mock_hardware": "hardware:=mock",
    "use_fake_hardware": "hardware:=mock",
    "robot_ip": "port",
    "tf_prefix": "namespace",
}
# Launch's own, and ours of another part: one set of arguments may be given to all parts.
_UNSAID = {"launch-prefix", "launch-prefix-filter"}
_UNSAID |= set(settings_of(Options))


def given_arguments(context: LaunchContext, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that were given to the launch file that runs, and those known there.

    To be called while launch visits the description, as an ``OpaqueFunction`` is.

    Args:
        context: of the launch.
        names: of the arguments of the description.
    """
    include = _include()
    if include is None:  # handed to launch as it is: nobody else could be meant
        return [argument.partition(":=")[0] for argument in context.argv], list(names)
    given = [
        perform_substitutions(context, normalize_to_list_of_substitutions(name))
        for name, _ in include.launch_arguments
    ]
    # The file may have put arguments of its own beside those of our description.
    declared = [
        argument.name
        for description in include.get_sub_entities()
        for argument in description.get_launch_arguments()
    ]
    return given, [*names, *declared]


def refuse_typos(arguments: Iterable[str], names: Sequence[str]) -> list[str]:
    """Refuse a misspelled argument, which launch ignores: a real arm would start, say.

    Args:
        arguments: names that were given.
        names: of the arguments that are known.

    Returns:
        Those that nobody knows and that resemble none that is known.

    Raises:
        SetupError: the text has the name that was probably meant.
    """
    unknown = [name for name in arguments if name not in names]
    for name in unknown:
        if renamed(name, names):
            raise SetupError(f"there is no argument '{name}'; {renamed(name, names)}")
        habit = _HABITS.get(name)
        meant = [habit] if habit else get_close_matches(name, names, 1, 0.75)
        if meant:
            raise SetupError(f"there is no argument '{name}'; did you mean '{meant[0]}'?")
    return [name for name in unknown if name not in _UNSAID]


def _include() -> IncludeLaunchDescription | None:
    """Return the innermost include that is being visited.

    Launch tells a description nothing about it. But it visits in depth, each entity in a call
    within that of the entity which has it.
    """
    frame = inspect.currentframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, IncludeLaunchDescription):
                return value
        frame = frame.f_back
    return None
