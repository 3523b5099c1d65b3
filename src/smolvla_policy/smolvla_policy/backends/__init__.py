# SPDX-License-Identifier: Apache-2.0
"""Backends of `policy_node`: how they are found, made and run."""
