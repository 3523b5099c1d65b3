# SPDX-License-Identifier: Apache-2.0
"""The node that records episodes as a LeRobot dataset."""

from smolvla_core.console import script

main = script("smolvla_learning.record_node.node")
