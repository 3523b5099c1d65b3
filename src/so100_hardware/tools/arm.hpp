// SPDX-License-Identifier: Apache-2.0
// The six servos of an arm, as calibration and monitor look at them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "so100_hardware/calibration.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::tools
{

/// A joint and the servo that moves it.
struct ArmServo
{
  std::string joint;
  std::uint8_t id = 0;

  /// "elbow_flex (id 3)"
  std::string label() const;
};

using Arm = std::vector<ArmServo>;

/// LeRobot's six joints with its ids.
Arm lerobot_arm();

/// The joints of a calibration with its ids, in LeRobot's order.
Arm arm_of(const Calibration & calibration);

/// Servos that do not answer or share an id, other models, a supply outside of their limits.
struct ArmCheck
{
  std::vector<std::string> problems;  ///< empty: it can be worked with
  std::vector<std::string> warnings;  ///< mixed firmware, faults
};
ArmCheck check_arm(feetech::Bus & bus, const Arm & arm);

/// Whether any servo holds its position.
feetech::Result<bool> torque_on(feetech::Bus & bus, const Arm & arm);

/// Switches the torque of all servos off. Goes on after a failure; returns the first.
feetech::Result<void> torque_off(feetech::Bus & bus, const Arm & arm);

/// What the servos keep of their calibration.
using ArmEeprom = std::vector<JointEeprom>;

/// In the order of the arm.
feetech::Result<ArmEeprom> read_eeprom(feetech::Bus & bus, const Arm & arm);

/// Writes what differs. Goes on after a failure; returns the first.
feetech::Result<void> write_eeprom(feetech::Bus & bus, const Arm & arm, const ArmEeprom & values);

}  // namespace so100_hardware::tools
