# SPDX-License-Identifier: Apache-2.0
"""The SmolVLA network and its inference engine in PyTorch."""
