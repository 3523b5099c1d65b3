# SPDX-License-Identifier: Apache-2.0
"""The node that runs action chunks at a fixed rate."""

from smolvla_core.console import script

main = script("smolvla_executor.executor_node.node")
