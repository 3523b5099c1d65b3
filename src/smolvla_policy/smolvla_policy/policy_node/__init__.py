# SPDX-License-Identifier: Apache-2.0
"""The node that turns observations and an instruction into action chunks."""

import os

from smolvla_core.console import script

# PyTorch's threads sleep while they wait for each other, as the control loop and the cameras want
# the processor, too. Read when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

main = script("smolvla_policy.policy_node.node")
