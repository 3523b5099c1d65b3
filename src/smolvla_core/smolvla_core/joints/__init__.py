# SPDX-License-Identifier: Apache-2.0
"""Joint states: by name, over time, and from whom."""
