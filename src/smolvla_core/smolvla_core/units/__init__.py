# SPDX-License-Identifier: Apache-2.0
"""Between radians on the topics and the units of a checkpoint; calibration files."""
