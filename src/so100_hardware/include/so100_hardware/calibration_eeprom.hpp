// SPDX-License-Identifier: Apache-2.0
// The part of a calibration that the servo itself keeps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "so100_hardware/calibration.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware
{

/// Homing_Offset (31), Min_Position_Limit (9) and Max_Position_Limit (11) of one servo, in ticks.
struct JointEeprom
{
  int homing_offset = 0;
  int range_min = 0;
  int range_max = kMaxTick;
};

bool operator==(const JointEeprom & a, const JointEeprom & b);
bool operator!=(const JointEeprom & a, const JointEeprom & b);

/// What the servo of this joint should hold.
JointEeprom to_eeprom(const JointCalibration & joint);

/// What differs between file and servo, one line each: "elbow_flex (id 3): homing_offset is -1005
/// in the file, 12 in the servo". Empty: LeRobot's is_calibrated would be true as well.
std::vector<std::string> calibration_differences(
  const JointCalibration & joint, const JointEeprom & servo);

/// Reads the three values. Errors: as feetech::Bus::read.
feetech::Result<JointEeprom> read_joint_eeprom(feetech::Bus & bus, std::uint8_t id);

/// Writes what differs and reads it back, with Lock 0 only meanwhile. The torque must be off: a
/// new homing offset moves the meaning of the goal position at once.
/// Errors: as feetech::write_eeprom; not_stored when a value does not read back.
feetech::Result<void> write_joint_eeprom(
  feetech::Bus & bus, std::uint8_t id, const JointEeprom & values);

}  // namespace so100_hardware
