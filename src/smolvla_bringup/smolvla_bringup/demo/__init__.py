# SPDX-License-Identifier: Apache-2.0
"""The demo: the simulated arm obeys a sentence."""
