// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{

/// A register and the value it shall have.
struct RegisterValue
{
  Register reg;
  int value;
};

/// Writes EEPROM registers of one servo and reads each back. Lock is 0 only meanwhile: it is set
/// to 1 at the end in every case, also after a failure. For setup only, never in the control
/// cycle: EEPROM wears out and a write takes milliseconds.
///
/// After a write of ID the servo is addressed by its new one. Baud_Rate must come last. It is not
/// read back, needs no acknowledgement and is not followed by the lock, as the servo then talks at
/// the new rate: open the port at that rate, read it back and write Lock 1.
///
/// Errors: the first that happened; not_stored when a value reads back differently.
Result<void> write_eeprom(
  Bus & bus, std::uint8_t id, const RegisterValue * values, std::size_t count);
Result<void> write_eeprom(Bus & bus, std::uint8_t id, const Register & reg, int value);

}  // namespace so100_hardware::feetech
