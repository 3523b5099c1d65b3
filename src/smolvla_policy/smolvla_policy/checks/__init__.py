# SPDX-License-Identifier: Apache-2.0
"""Does this checkpoint fit this robot? Each check is a function that returns rows of a table."""
