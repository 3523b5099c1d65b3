# SPDX-License-Identifier: Apache-2.0
"""The console scripts, quiet when they are interrupted while Python still imports."""

from smolvla_policy.console import script

start = script("smolvla_bringup.start")
demo = script("smolvla_bringup.demo", status=130)
