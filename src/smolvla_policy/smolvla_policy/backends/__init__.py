# SPDX-License-Identifier: Apache-2.0
"""What can think up actions for `policy_node`, and how it is found and run."""
