# SPDX-License-Identifier: Apache-2.0
"""The error of everything that is wrong with a checkpoint."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the text says what is wrong, where, and what to do."""
