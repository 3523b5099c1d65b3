// SPDX-License-Identifier: Apache-2.0
// LeRobot's calibration file: read, checked and written as LeRobot does it, so that an arm that
// was calibrated there works here and the other way round. Rules and messages are in
// config/calibration_rules.json.
//
//   {"shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": -1005,
//                     "range_min": 755, "range_max": 3327}, ...}
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "so100_hardware/conversions.hpp"
#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/joints.hpp"

namespace so100_hardware
{

/// Largest magnitude of the homing offset in the servo (register 31, sign bit 11).
inline constexpr int kMaxHomingOffset = feetech::max_value(feetech::registers::homing_offset);

/// Where LeRobot puts a joint's middle: int(4095 / 2).
inline constexpr int kHomePosition = 2047;

/// Whole degrees of a range in ticks.
constexpr int degrees_of(int ticks) { return (ticks * 360 + kTicksPerTurn / 2) / kTicksPerTurn; }

/// What the calibration says about one joint. Units are ticks, 4096 a turn.
struct JointCalibration
{
  std::string joint;
  int id = 0;
  int drive_mode = 0;        ///< 1 turns LeRobot's +-100 and 0-100 round; degrees ignore it
  int homing_offset = 0;     ///< Present_Position = encoder - homing_offset (register 31)
  int range_min = 0;         ///< lowest Present_Position (register 9)
  int range_max = kMaxTick;  ///< highest Present_Position (register 11)

  TickRange range() const { return {range_min, range_max}; }
};

bool operator==(const JointCalibration & a, const JointCalibration & b);
bool operator!=(const JointCalibration & a, const JointCalibration & b);

/// The calibration of an arm, in the order of the file.
struct Calibration
{
  std::vector<JointCalibration> joints;

  /// The joint of that name, or nullptr.
  const JointCalibration * find(std::string_view joint) const;
};

bool operator==(const Calibration & a, const Calibration & b);
bool operator!=(const Calibration & a, const Calibration & b);

/// A calibration that was read, or why it cannot be used.
struct LoadedCalibration
{
  std::filesystem::path file;  ///< empty when none was found
  Calibration calibration;     ///< to be used only if ok()
  /// One line each: file, joint, key, what is wrong, what to do.
  std::vector<std::string> problems;
  /// One line each: what is odd, but no hindrance.
  std::vector<std::string> notes;

  bool ok() const { return problems.empty(); }
};

/// The names of LeRobot's six joints.
std::vector<std::string> lerobot_joints();

/// How far a joint of the SO-100 and SO-101 turns from end to end [degrees].
struct KnownTravel
{
  int turn;   ///< about
  int least;  ///< a calibration with less was hardly made at both ends
};

/// Of one of LeRobot's six joints; nullopt for others.
std::optional<KnownTravel> known_travel(const std::string & joint);

/// What makes a calibration unusable, or unsafe to move with: a range over the end of the encoder.
/// Empty when it is good. Each line names joint and key.
/// @param joints  the joints that must be there, no more and no fewer
std::vector<std::string> calibration_problems(
  const Calibration & calibration, const std::vector<std::string> & joints = lerobot_joints());

/// What is odd about a usable calibration: a range far below what the joint turns, an id that is
/// not LeRobot's, a drive_mode that radians ignore.
std::vector<std::string> calibration_notes(const Calibration & calibration);

/// Read and check the text of a calibration file.
/// @param name  stands before each message, usually the path
LoadedCalibration parse_calibration(
  const std::string & text, const std::string & name,
  const std::vector<std::string> & joints = lerobot_joints());

/// Read and check a calibration file.
LoadedCalibration load_calibration(
  const std::filesystem::path & file, const std::vector<std::string> & joints = lerobot_joints());

/// The text that LeRobot writes for the same values, to the byte.
std::string to_json(const Calibration & calibration);

// The part of a calibration that the servo itself keeps.

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
