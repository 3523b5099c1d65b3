# SPDX-License-Identifier: Apache-2.0
"""The console script `sim_node`, quiet when it is interrupted while Python still imports."""

from smolvla_policy.console import script

sim_node = script("smolvla_sim.sim_node")
