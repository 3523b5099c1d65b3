// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::emulator
{

/// What differs between two servos out of the box.
struct Identity
{
  std::uint8_t id = 1;
  std::uint16_t model = feetech::kModelSts3215;
  std::uint8_t firmware_major = 3;
  std::uint8_t firmware_minor = 10;
  std::uint8_t baud_code = 0;
};

/// Bit rate of a baud code, 0 for an unknown code. The codes 5 to 7 are those of LeRobot
/// (57600, 38400, 19200); Feetech's manuals disagree with it and with each other.
int baud_of_code(int code);
/// Code of a bit rate, -1 if the servo has none for it.
int code_of_baud(int baud);

/// The memory table of one servo: what is in force, and what the EEPROM keeps.
///
/// A write to an EEPROM register acts at once. With Lock = 1 it is gone after a power cycle,
/// with Lock = 0 it is kept.
class Memory
{
public:
  static constexpr std::size_t kSize = 256;

  explicit Memory(const Identity & identity);

  /// The byte of an address; reserved addresses read 0.
  std::uint8_t byte(std::uint8_t address) const { return ram_[address]; }
  int get(const feetech::Register & reg) const { return decode(reg, &ram_[reg.address]); }

  /// The servo's own write to a register: no lock, no read-only; a value that does not fit is
  /// clamped. EEPROM registers go to the EEPROM as well.
  void set(const feetech::Register & reg, int value);

  /// A client's write of one byte. Read-only and reserved addresses are left as they are, and so
  /// are an id above 253 and an unknown baud code.
  void client_write(std::uint8_t address, std::uint8_t value);

  /// What a loss of power does: RAM from the EEPROM, the rest as at the start.
  void power_cycle();

  /// RESET: all but identity, id and baud rate as the factory left it, in the EEPROM too.
  void factory_reset();

  /// A value as the EEPROM keeps it, for saving; and putting one there. restore() ignores
  /// read-only registers and values that do not fit; the next power_cycle() puts it in force.
  int stored(const feetech::Register & reg) const { return decode(reg, &eeprom_[reg.address]); }
  void restore(const feetech::Register & reg, int value);

  /// Counts changes of the EEPROM, so that a saver sees whether there is something to save.
  unsigned revision() const { return revision_; }

private:
  void load_factory();
  void store(std::uint8_t address, std::uint8_t value);

  Identity identity_;
  std::array<std::uint8_t, kSize> ram_{};
  std::array<std::uint8_t, kSize> eeprom_{};
  unsigned revision_ = 0;
};

}  // namespace so100_hardware::emulator
