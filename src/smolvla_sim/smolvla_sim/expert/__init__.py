# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: what it knows, how it moves, as a policy."""
