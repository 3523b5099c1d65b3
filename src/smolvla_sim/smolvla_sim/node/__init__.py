# SPDX-License-Identifier: Apache-2.0
"""The node of the simulation."""

from smolvla_core.console import script

main = script("smolvla_sim.node.node")
