# SPDX-License-Identifier: Apache-2.0
"""The node that runs a plan: sentences, one after the other."""

from smolvla_core.console import script

main = script("smolvla_executor.plan_node.node")
