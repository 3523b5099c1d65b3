# SPDX-License-Identifier: Apache-2.0
"""How bad the state of a node is."""

from __future__ import annotations

from enum import IntEnum

PATIENCE = 10.0
"""So long [s] it is no fault that the arm's driver or the policy is still to come."""


class Level(IntEnum):
    """How bad something is; the values are those of ``diagnostic_msgs/DiagnosticStatus``.

    What waits for the user, or is still on its way, is OK.
    """

    OK = 0
    WARN = 1
    ERROR = 2
