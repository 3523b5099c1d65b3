# SPDX-License-Identifier: Apache-2.0
"""Which arguments were given to our launch file, be it launched or included.

``context.argv`` has what the user typed, for whichever launch file; launch's configurations have
what all files around ours have declared and set, for themselves or for others. What was given to
ours alone stands in the include that made it run: ``ros2 launch``, too, includes the file that it
launches.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from launch import LaunchContext
from launch.actions import IncludeLaunchDescription
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions


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
