# SPDX-License-Identifier: Apache-2.0
"""The node, and the keys, by which a person moves the arm without a leader arm."""

from smolvla_core.console import script

main = script("smolvla_executor.teleop_node.node")
