# SPDX-License-Identifier: Apache-2.0
"""The node that shows a run in Rerun."""

from smolvla_core.console import script

main = script("smolvla_executor.rerun_node.node")
