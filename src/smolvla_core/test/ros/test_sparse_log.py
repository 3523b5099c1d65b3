# SPDX-License-Identifier: Apache-2.0
"""A warning that is repeated is logged once, a new one soon; a state that flickers, rarely."""

import pytest
from smolvla_core.level import Level
from smolvla_core.ros.sparse_log import SparseLog, StateLog

DRY = "HOLDING: the policy takes {:.2f} s"


def test_the_same_text_is_logged_rarely_and_a_new_one_soon():
    logged, now = [], [0.0]
    log = SparseLog(lambda text: logged.append((now[0], text)), 5.0, 60.0, lambda: now[0])
    for second in range(140):
        now[0] = float(second)
        log("no instruction" if second < 70 else f"image is {second} s old")
    times = [time for time, text in logged if text == "no instruction"]
    assert times == [0.0, 60.0]
    assert logged[2:] == [(70.0, "image is 70 s old"), (130.0, "image is 130 s old")]


def test_names_with_numbers_in_them_differ():
    logged = []
    log = SparseLog(logged.append, 0.0, 60.0, lambda: 0.0)
    for text in (
        "camera cam1: 0.51 s old",
        "camera cam1: 0.53 s old",
        "camera cam2: 0.53 s old",
    ):
        log(text)
    assert logged == ["camera cam1: 0.51 s old", "camera cam2: 0.53 s old"]


class Log:
    """A state log in simulated time, fed at 10 Hz."""

    def __init__(self):
        self.lines, self.now = [], 0.0
        self._log = StateLog(lambda level, text: self.lines.append((self.now, level, text)))

    def feed(self, seconds, level, text):
        for _ in range(round(seconds * 10)):
            self._log(level, text, self.now)
            self.now += 0.1

    @property
    def texts(self):
        return [text for _, _, text in self.lines]


def test_a_fault_is_reported_at_once_a_recovery_soon_and_each_once():
    log = Log()
    log.feed(3.0, Level.OK, "RUNNING")
    log.feed(2.0, Level.ERROR, "FAULT: 0.31 s old")
    log.feed(5.0, Level.ERROR, "FAULT: 0.45 s old")
    log.feed(0.3, Level.OK, "WAITING")  # on its way
    log.feed(5.0, Level.OK, "RUNNING")
    assert log.texts == ["RUNNING", "FAULT: 0.31 s old", "RUNNING"]
    assert [level for _, level, _ in log.lines] == [Level.OK, Level.ERROR, Level.OK]
    assert log.lines[1][0] == pytest.approx(3.0)
    assert log.lines[2][0] < 10.3 + 2.5


@pytest.mark.parametrize(("holds", "runs"), [(0.3, 1.0), (1.0, 1.0), (2.5, 1.0), (6.0, 6.0)])
def test_a_policy_that_is_always_too_slow_is_reported_once_then_counted(holds, runs):
    log = Log()
    log.feed(runs, Level.OK, "RUNNING")
    rounds = round(240 / (holds + runs))
    for count in range(rounds):
        log.feed(holds, Level.WARN, DRY.format(0.9 + 0.01 * count))
        log.feed(runs, Level.OK, "RUNNING")
    assert log.texts[:2] == ["RUNNING", DRY.format(0.9)]
    assert len(log.lines) <= 4 * 8
    counts = [int(text.split("(")[1].split()[0]) for text in log.texts if " more time" in text]
    assert counts
    # Each hold is logged or counted, but for those after the last line.
    holding = sum("HOLDING" in text for text in log.texts)
    assert rounds - 70 / (holds + runs) <= holding + sum(counts) <= rounds


def test_what_was_reported_last_is_what_lasts():
    log = Log()
    for _ in range(20):
        log.feed(0.6, Level.OK, "RUNNING")
        log.feed(0.6, Level.WARN, "HOLDING")
    log.feed(20.0, Level.WARN, "HOLDING")
    assert log.texts[-1].startswith("HOLDING")
    log.feed(20.0, Level.OK, "RUNNING")
    assert log.texts[-1] == "RUNNING"


def test_a_wait_that_becomes_a_fault_is_reported_again():
    log = Log()
    log.feed(10.0, Level.OK, "WAITING: nobody listens")
    log.feed(50.0, Level.WARN, "WAITING: nobody listens")
    assert [level for _, level, _ in log.lines] == [Level.OK, Level.WARN]
