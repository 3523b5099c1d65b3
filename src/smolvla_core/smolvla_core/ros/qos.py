# SPDX-License-Identifier: Apache-2.0
"""Quality of service, named by role, so that every node of the suite matches every other."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


def image_qos() -> QoSProfile:
    """Camera images: best effort, only the newest counts."""
    return _profile(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def joint_state_qos(depth: int = 10) -> QoSProfile:
    """Joint states: best effort matches reliable and best-effort publishers alike."""
    return _profile(depth, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


def description_qos() -> QoSProfile:
    """The robot description: latched, as robot_state_publisher publishes it."""
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def instruction_qos() -> QoSProfile:
    """Instructions and verdicts: volatile, so that a bare ``ros2 topic pub`` is received."""
    return _profile(10, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def request_qos() -> QoSProfile:
    """Inference requests: reliable, only the newest counts."""
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def chunk_qos() -> QoSProfile:
    """Action chunks: reliable; a few are kept for slow listeners such as RViz and bags."""
    return _profile(5, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def command_qos(depth: int = 1) -> QoSProfile:
    """Joint commands: reliable, only the newest counts (forward_command_controller's own)."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def status_qos(depth: int = 1) -> QoSProfile:
    """Status of a node: reliable and latched, so that a late listener sees the last one."""
    return _profile(depth, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


def scene_qos() -> QoSProfile:
    """Object markers of the scene: reliable, the newest set."""
    return _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
