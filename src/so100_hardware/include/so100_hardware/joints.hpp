// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace so100_hardware
{

/// A joint of the SO-100 and SO-101 and the id that LeRobot gives its servo.
struct JointInfo
{
  std::string_view name;
  uint8_t id;
};

/// LeRobot's six joints, in its order: along the arm from the base, which is also that of the ids.
inline constexpr std::array<JointInfo, 6> kJoints{{
  {"shoulder_pan", 1},
  {"shoulder_lift", 2},
  {"elbow_flex", 3},
  {"wrist_flex", 4},
  {"wrist_roll", 5},
  {"gripper", 6},
}};

/// The joint whose positions LeRobot counts 0 (closed) to 100 (open) instead of degrees.
inline constexpr std::string_view kGripper = "gripper";

/// The joint without end stops: LeRobot does not sweep it, its range is the full turn.
inline constexpr std::string_view kFullTurnJoint = "wrist_roll";

/// The joint of that name, or nullptr.
constexpr const JointInfo * find_joint(std::string_view name)
{
  for (const JointInfo & joint : kJoints) {
    if (joint.name == name) {
      return &joint;
    }
  }
  return nullptr;
}

/// The joint that has this id by default, or nullptr.
constexpr const JointInfo * find_joint(int id)
{
  for (const JointInfo & joint : kJoints) {
    if (joint.id == id) {
      return &joint;
    }
  }
  return nullptr;
}

}  // namespace so100_hardware
