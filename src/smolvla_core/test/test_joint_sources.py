# SPDX-License-Identifier: Apache-2.0
"""Joint states that contradict each other move no arm."""

from __future__ import annotations

import numpy as np
import pytest
from smolvla_core.joints import CLEAR, JointSources, Part

JOINTS = ("base", "tilt")


def whole(positions):
    return Part(np.arange(len(positions)), np.array(positions))


def feed(sources, seconds, publish, rates=(100, 40), start=50.0):
    """Let sources publish, each at its rate; return the first problem and when it came."""
    times = [
        (start + count / rate, index)
        for index, rate in enumerate(rates)
        for count in range(round(seconds * rate))
    ]
    for now, index in sorted(times):
        name, positions = publish(index, now - start)
        sources.update(whole(positions), name, now)
        if sources.problem(now):
            return sources.problem(now), now - start
    return "", seconds


def test_a_second_source_elsewhere_is_named_at_once():
    sources = JointSources(JOINTS)
    message, when = feed(
        sources, 2.0, lambda i, t: (("/gui", [0.0, 0.0]), ("/arm/driver", [0.1, -1.3]))[i]
    )
    assert "/gui" in message
    assert "/arm/driver" in message
    assert "tilt" in message
    assert "-1.30" in message
    assert when < 0.05


def test_a_source_that_is_a_little_elsewhere_is_noticed_when_both_stand():
    sources = JointSources(JOINTS)
    message, when = feed(sources, 3.0, lambda i, t: ("ab"[i], [0.4, 0.1 + 0.12 * i]), (50, 10))
    assert "of a and b" in message or "of b and a" in message
    assert when < 1.5


def wave(t):
    return [1.2 * np.sin(1.5 * t), -0.8 * np.sin(2.0 * t)]  # up to 1.8 rad/s


@pytest.mark.parametrize("lag", [0.0, 0.02, 0.1])
def test_a_second_publisher_of_the_same_positions_is_no_fault(lag):
    sources = JointSources(JOINTS)
    message, _ = feed(
        sources, 6.0, lambda i, t: ("ab"[i], wave(max(0.0, t - lag * i))), rates=(100, 10)
    )
    assert message == ""


def test_without_names_positions_that_alternate_are_noticed():
    sources = JointSources(JOINTS)
    message, when = feed(
        sources, 2.0, lambda i, t: ("", ([0.0, 0.0], [0.0, 0.9])[i]), rates=(100, 20)
    )
    assert "jump there and back" in message
    assert "tilt" in message
    assert when < 0.2


def test_an_arm_that_is_set_elsewhere_or_comes_in_bursts_is_no_fault():
    sources = JointSources(JOINTS)
    reset = feed(sources, 2.0, lambda i, t: ("sim", [0.0, 0.0] if t < 1.0 else [1.4, -0.7]), (60,))
    assert reset[0] == ""
    sources = JointSources(JOINTS)
    for burst in range(20):
        for count in range(10):  # 0.3 s of a fast motion, received within a millisecond
            t = 0.3 * burst + 0.03 * count
            sources.update(whole([2.5 * t, 0.0]), "sim", 50 + 0.3 * burst + 1e-4 * count)
    assert sources.problem(56.0) == ""


def test_a_message_that_came_after_the_cycle_began_counts():
    sources = JointSources(JOINTS)
    sources.update(whole([0.0, 0.0]), "a", 50.01)
    sources.update(whole([0.0, 1.0]), "b", 50.02)
    assert sources.problem(50.015) != ""


def test_what_is_over_is_forgiven():
    sources = JointSources(JOINTS)
    feed(sources, 1.0, lambda i, t: ("ab"[i], [0.0, 1.0 * i]))
    for count in range(round(100 * (CLEAR + 0.5))):
        sources.update(whole([0.0, 0.0]), "a", 51.0 + 0.01 * count)
    assert sources.problem(51.0 + CLEAR - 1.1) != ""
    assert sources.problem(51.0 + CLEAR + 0.5) == ""


def test_parts_of_several_sources_are_compared_in_the_joints_that_they_share():
    sources = JointSources(JOINTS)

    def send(name, now, **positions):
        index = np.array([JOINTS.index(joint) for joint in positions])
        sources.update(Part(index, np.array(list(positions.values()))), name, now)

    for count in range(100):
        now = 50 + 0.01 * count
        send("arm", now, base=0.3)
        send("hand", now, tilt=1.1)
        assert sources.problem(now) == ""
    send("other", now, tilt=-0.4)
    assert "hand and other contradict each other: tilt is at 1.10" in sources.problem(now)
