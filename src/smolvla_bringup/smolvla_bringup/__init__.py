# SPDX-License-Identifier: Apache-2.0
"""The start of the whole system: list of nodes, starter, launch file and demo."""
