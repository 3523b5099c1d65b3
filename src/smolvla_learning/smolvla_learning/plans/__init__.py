# SPDX-License-Identifier: Apache-2.0
"""Plans of sentences: who makes them, and who judges their steps."""
