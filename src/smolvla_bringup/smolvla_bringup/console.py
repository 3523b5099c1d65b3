# SPDX-License-Identifier: Apache-2.0
"""The console scripts, quiet when they are interrupted while Python still imports."""

from smolvla_core.console import script

start = script("smolvla_bringup.system.start")
demo = script("smolvla_bringup.demo.__main__", status=130)
