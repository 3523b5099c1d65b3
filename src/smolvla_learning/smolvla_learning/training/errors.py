# SPDX-License-Identifier: Apache-2.0
"""The error of a training that cannot start or go on."""


class TrainingError(ValueError):
    """Something does not fit; the text says what and what to do."""
