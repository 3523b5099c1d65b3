// SPDX-License-Identifier: Apache-2.0
// The parameters of the ros2_control plugin, from the text in the URDF to checked numbers. Knows
// no ROS, so that every message can be tested anywhere.
//
// Two kinds of numbers: what the servo stores (`p_coefficient`, `acceleration`, …) is given as
// the register holds it, with LeRobot's name and number; everything else is in SI units.
// docs/reference/hardware_parameters.md lists them all.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "so100_hardware/conversions.hpp"

namespace so100_hardware
{

/// What came of a step outside of the control cycle. One line a mistake: which joint, what is
/// wrong, what to do.
struct Report
{
  std::vector<std::string> errors;
  std::vector<std::string> warnings;  ///< what the user should know, no hindrance

  bool ok() const { return errors.empty(); }

  /// The errors, one a line.
  std::string text() const
  {
    std::string all;
    for (const std::string & error : errors) {
      all += (all.empty() ? "" : "\n") + error;
    }
    return all;
  }

  /// Takes over what another step found. Returns whether that step went well.
  bool add(const Report & other)
  {
    errors.insert(errors.end(), other.errors.begin(), other.errors.end());
    warnings.insert(warnings.end(), other.warnings.begin(), other.warnings.end());
    return other.ok();
  }
};

/// The `<param>` tags of a component, as ros2_control hands them over.
using Parameters = std::unordered_map<std::string, std::string>;

/// A `<joint>` of the `<ros2_control>` tag.
struct JointDescription
{
  std::string name;
  Parameters parameters;
  std::vector<std::string> command_interfaces;
  std::vector<std::string> state_interfaces;
};

/// The `<ros2_control>` tag, as far as the plugin reads it.
struct SystemDescription
{
  Parameters parameters;  ///< of `<hardware>`
  std::vector<JointDescription> joints;
};

/// Settings of one servo, in the units of its registers. The defaults are what LeRobot's
/// configure() writes; where it writes nothing the optional is empty and the servo keeps its own.
struct ServoSettings
{
  int p_coefficient = 16;
  int i_coefficient = 0;
  int d_coefficient = 32;
  int acceleration = 254;                 ///< 100 ticks/s^2; 0: no limit
  int maximum_acceleration = 254;         ///< 100 ticks/s^2
  int goal_velocity = 0;                  ///< ticks/s; 0: as fast as the servo can
  std::optional<int> max_torque_limit;    ///< 0.1 %; gripper: 500
  std::optional<int> protection_current;  ///< 6.5 mA; gripper: 250
  std::optional<int> overload_torque;     ///< %; gripper: 25
};

struct JointConfig
{
  std::string name;   ///< in the URDF
  std::string motor;  ///< LeRobot's name, the key in the calibration: lerobot_name, or `name`
                      ///< without the prefix
  int id = -1;        ///< of its servo; -1 only where the parse failed
  ServoSettings settings;
  GripperAngles gripper;  ///< of the gripper only

  /// "shoulder_lift (id 2)", as messages name the joint.
  std::string label() const;
};

/// What a stop does to each servo.
enum class OnStop : std::uint8_t {
  hold,        ///< it holds where it is
  torque_off,  ///< it goes limp
};

struct SystemConfig
{
  std::string port;
  int baud = 1000000;
  std::string calibration_file;  ///< one of the two is empty
  std::string calibration_id;
  std::string joint_prefix;
  std::chrono::microseconds answer_timeout{200000};  ///< a servo silent for so long is an error
  std::chrono::microseconds read_timeout{5000};      ///< of the whole sync read of one cycle
  int return_delay_time = 0;                         ///< 2 us
  bool torque_off_on_deactivate = true;
  OnStop on_stop = OnStop::hold;
  bool leader = false;  ///< only read: connect() switches its torque off, activate() refuses
  bool write_calibration = false;
  std::vector<JointConfig> joints;  ///< in the order of the URDF
};

/// The checked configuration; usable only where there are no errors: which joint, which value, what
/// to do.
struct ParsedConfig : Report
{
  SystemConfig config;
};

/// Checks everything that can be checked without port and files, and names every mistake at once.
/// A parameter that is not known is a mistake too: a misspelt one must not pass for its default.
ParsedConfig parse_config(const SystemDescription & description);

}  // namespace so100_hardware
