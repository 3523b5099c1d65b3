# SPDX-License-Identifier: Apache-2.0
"""The node that turns observations and an instruction into action chunks."""

from smolvla_core.console import script

main = script("smolvla_policy.policy_node.node")
