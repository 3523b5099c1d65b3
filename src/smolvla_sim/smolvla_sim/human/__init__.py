# SPDX-License-Identifier: Apache-2.0
"""A simulated person who moves a leader arm."""

from smolvla_core.console import script

main = script("smolvla_sim.human.node")
