# SPDX-License-Identifier: Apache-2.0
"""What the other packages share; `ros/` is what the nodes have in common."""
