# SPDX-License-Identifier: Apache-2.0
"""The messages that the executor publishes."""

import numpy as np
from smolvla_executor.executor_node.messages import command_message

ROWS = np.random.default_rng(1).standard_normal((4, 3))


def test_command_keeps_order_and_bits():
    np.testing.assert_array_equal(command_message(ROWS[0]).data, ROWS[0])
