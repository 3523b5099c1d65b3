# SPDX-License-Identifier: Apache-2.0
"""Does this checkpoint fit this robot? Each check is a function that returns rows of a table."""

from smolvla_core.console import COULD_NOT_RUN, script

main = script("smolvla_policy.check", COULD_NOT_RUN)
