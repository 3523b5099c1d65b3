# SPDX-License-Identifier: Apache-2.0
"""The benchmark Meta-World (Yu et al. 2019, arXiv 1910.10897) by LeRobot's protocol."""
