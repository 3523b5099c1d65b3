# SPDX-License-Identifier: Apache-2.0
"""Runs chunks of actions at a fixed rate: `core` is pure arithmetic, `executor_node` its node."""
