# SPDX-License-Identifier: Apache-2.0
"""The node that keeps a leader arm readable."""

from smolvla_core.console import script

main = script("smolvla_bringup.leader_node.node")
