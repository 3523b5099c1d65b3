# SPDX-License-Identifier: Apache-2.0
"""What happens between a policy and an arm, as pure arithmetic on numpy arrays.

No ROS, no torch, no threads and no wall clock: time is an argument. Start reading at `executor`.
"""
