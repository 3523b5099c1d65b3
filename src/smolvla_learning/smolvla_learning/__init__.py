# SPDX-License-Identifier: Apache-2.0
"""Learning from demonstrations: datasets, recording, training."""
