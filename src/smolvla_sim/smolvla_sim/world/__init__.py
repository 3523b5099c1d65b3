# SPDX-License-Identifier: Apache-2.0
"""The simulated arm, its table and the tasks, in MuJoCo."""
