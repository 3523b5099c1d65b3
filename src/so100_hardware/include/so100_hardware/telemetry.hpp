// SPDX-License-Identifier: Apache-2.0
// Everything that is reported about a joint, in one table. State interfaces of ros2_control, the
// columns of so100_monitor, the values on /diagnostics and what the emulator answers come from it:
// a new register is a field of JointState, a row of kMeasurements, and a tag in the URDF.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "so100_hardware/conversions.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware
{

/// What a joint measures, in SI units. Held, not zeroed, while its servo does not answer.
struct JointState
{
  double position = 0.0;     ///< rad
  double velocity = 0.0;     ///< rad/s
  double effort = 0.0;       ///< share of the full duty cycle, -1 to 1
  double current = 0.0;      ///< A
  double voltage = 0.0;      ///< V
  double temperature = 0.0;  ///< degrees Celsius
  double status = 0.0;       ///< see faults()

  /// Fault bits, see feetech::status_bits.
  std::uint8_t faults() const { return static_cast<std::uint8_t>(status); }
};

/// What went wrong with a joint and was tolerated, since So100Arm::connect().
struct JointCounters
{
  std::uint64_t missed_reads = 0;    ///< cycles in which the servo did not answer
  std::uint64_t clamped_goals = 0;   ///< goals outside of the calibrated range
  std::uint64_t rejected_goals = 0;  ///< goals that are no number; the last good one stays
  std::uint32_t missed_in_a_row = 0;
};

/// A measured register, its names and how it is shown.
struct Measurement
{
  const char * interface;  ///< state interface of ros2_control
  double JointState::* value;
  feetech::Register reg;
  double (*si)(int raw);  ///< its value in SI units; a joint's position and speed: see measure()
  const char * label;     ///< in CSV and on /diagnostics
  const char * symbol;    ///< its unit in CSV, empty for none
  int decimals;           ///< in CSV and on /diagnostics
  const char * heading;   ///< of so100_monitor's table, empty: not a column of its own
  double scale;           ///< from SI units to the table's
  int digits;             ///< in the table
};

/// Present_Position counted from the encoder's zero.
constexpr double radians_from_ticks(int ticks) { return ticks * kRadiansPerTick; }
constexpr double unchanged(int raw) { return raw; }

// clang-format off
inline constexpr std::array kMeasurements{
  Measurement{"position", &JointState::position, feetech::registers::present_position, radians_from_ticks,
   "position", "rad", 5, "", 1, 3},
  Measurement{"velocity", &JointState::velocity, feetech::registers::present_velocity, radians_per_second_from_steps,
   "velocity", "rad_s", 4, ">RAD/S", 1, 2},
  Measurement{"effort", &JointState::effort, feetech::registers::present_load, duty_from_load,
   "load", "", 3, ">LOAD %", 100, 1},
  Measurement{"current", &JointState::current, feetech::registers::present_current, amperes_from_raw,
   "current", "a", 4, ">AMPERE", 1, 2},
  Measurement{"voltage", &JointState::voltage, feetech::registers::present_voltage, volts_from_raw,
   "voltage", "v", 1, ">VOLT", 1, 1},
  Measurement{"temperature", &JointState::temperature, feetech::registers::present_temperature, celsius_from_raw,
   "temperature", "c", 0, ">TEMP", 1, 0},
  Measurement{"status", &JointState::status, feetech::registers::status, unchanged,
   "status", "", 0, "", 1, 0},
};
// clang-format on

/// A count that is reported beside the measurements.
struct Counter
{
  const char * name;  ///< state interface of ros2_control, and on /diagnostics
  std::uint64_t JointCounters::* value;
};

inline constexpr std::array kCounters{
  Counter{"missed_reads", &JointCounters::missed_reads},
  Counter{"clamped_goals", &JointCounters::clamped_goals},
  Counter{"rejected_goals", &JointCounters::rejected_goals},
};

/// The state of a joint from its servo's registers. Without a conversion (a servo that is not
/// calibrated) the position is that of the encoder.
inline JointState measure(const feetech::ServoState & servo, const JointConversion * joint)
{
  JointState state;
  for (const Measurement & one : kMeasurements) {
    state.*one.value = one.si(servo.get(one.reg));
  }
  if (joint != nullptr) {
    state.position = joint->radians(servo.get(feetech::registers::present_position));
    state.velocity = joint->radians_per_second(servo.get(feetech::registers::present_velocity));
  }
  return state;
}

/// The state interfaces that a joint may have.
inline std::vector<std::string> state_interface_names()
{
  std::vector<std::string> names;
  for (const Measurement & one : kMeasurements) {
    names.emplace_back(one.interface);
  }
  for (const Counter & one : kCounters) {
    names.emplace_back(one.name);
  }
  return names;
}

}  // namespace so100_hardware
