# SPDX-License-Identifier: Apache-2.0
"""The node that draws what the arm is about to do."""

from smolvla_core.console import script

main = script("smolvla_executor.visualization_node.node")
