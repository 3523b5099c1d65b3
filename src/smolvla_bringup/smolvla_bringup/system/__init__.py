# SPDX-License-Identifier: Apache-2.0
"""The one list of nodes, for the launch files and for the starter."""
