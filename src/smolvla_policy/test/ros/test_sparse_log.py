# SPDX-License-Identifier: Apache-2.0
"""A complaint that is repeated is told once, a new one soon."""

from smolvla_policy.ros.sparse_log import SparseLog


def test_the_same_words_are_told_rarely_and_new_ones_soon():
    told, now = [], [0.0]
    log = SparseLog(lambda words: told.append((now[0], words)), 5.0, 60.0, lambda: now[0])
    for second in range(130):
        now[0] = float(second)
        log("no instruction" if second < 70 else f"image is {second} s old")
    times = [time for time, words in told if words == "no instruction"]
    assert times == [0.0, 60.0]
    assert told[2] == (70.0, "image is 70 s old")
    assert told[3][0] == 75.0
