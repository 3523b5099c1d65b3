# SPDX-License-Identifier: Apache-2.0
"""Sentences for episodes, by a vision-language model, as the authors of SmolVLA made them."""
