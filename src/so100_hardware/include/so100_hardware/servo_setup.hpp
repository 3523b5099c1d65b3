// SPDX-License-Identifier: Apache-2.0
// One servo before the torque goes on: what it is, what it should hold, and writing what differs.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "so100_hardware/calibration.hpp"
#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/eeprom.hpp"
#include "so100_hardware/system_config.hpp"

namespace so100_hardware
{

/// Unit of the register Return_Delay_Time.
inline constexpr std::chrono::microseconds kReturnDelayStep{2};

/// EEPROM and settings of one servo as they were read, registers 0 to 55.
struct ServoTable
{
  static constexpr feetech::Block kBlock{0, 56};

  std::array<std::uint8_t, kBlock.size> bytes{};
  int maximum_acceleration = 0;  ///< register 85
  int voltage_dv = 0;            ///< register 62, 0.1 V

  int get(const feetech::Register & reg) const { return feetech::decode(reg, &bytes[reg.address]); }
  /// "3.10"
  std::string firmware() const;
};

/// Errors: as feetech::Bus::read.
feetech::Result<ServoTable> read_servo_table(feetech::Bus & bus, std::uint8_t id);

/// What makes the servo unusable: another model, no acknowledgements, a supply beyond its limits.
Report check_servo(const JointConfig & joint, const ServoTable & table);

/// EEPROM registers whose value is not the wanted one, with the wanted one. Written values wear
/// the EEPROM out, so only these are.
std::vector<feetech::RegisterValue> settings_to_store(
  const ServoTable & table, const ServoSettings & settings, int return_delay_time);

/// The same of the registers that a power cycle forgets.
std::vector<feetech::RegisterValue> settings_to_set(
  const ServoTable & table, const ServoSettings & settings);

/// Brings a servo to the wanted settings. Its torque goes off if the EEPROM must be written or its
/// overload protection has latched, and stays on otherwise. Lock is 1 at the end.
Report apply_settings(feetech::Bus & bus, const JointConfig & joint, int return_delay_time);

}  // namespace so100_hardware
