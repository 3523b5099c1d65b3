// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <algorithm>
#include <utility>

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
using feetech::Register;

constexpr std::array<int, 8> kBauds{1000000, 500000, 250000, 128000, 115200, 57600, 38400, 19200};
constexpr std::uint8_t kHighestId = 253;

/// A 12 V STS3215 as it comes. Values not in the manuals (moving threshold and later) are
/// assumed; 84 counts 50 steps/s, so 68 is the servo's top speed.
const std::array<std::pair<Register, int>, 35> kFactory{{
  {reg::return_delay, 250},
  {reg::status_level, 1},
  {reg::min_position_limit, 0},
  {reg::max_position_limit, 4095},
  {reg::max_temperature, 70},
  {reg::max_voltage, 140},
  {reg::min_voltage, 60},
  {reg::max_torque, 1000},
  {reg::phase, 12},
  {reg::unload_condition, 44},
  {reg::led_alarm_condition, 47},
  {reg::p_coefficient, 32},
  {reg::d_coefficient, 32},
  {reg::i_coefficient, 0},
  {reg::min_startup_force, 16},
  {reg::cw_dead_zone, 1},
  {reg::ccw_dead_zone, 1},
  {reg::protection_current, 500},
  {reg::angular_resolution, 1},
  {reg::homing_offset, 0},
  {reg::operating_mode, 0},
  {reg::protective_torque, 20},
  {reg::protection_time, 200},
  {reg::overload_torque, 80},
  {reg::velocity_p, 10},
  {reg::over_current_time, 200},
  {reg::velocity_i, 10},
  {reg::lock, 1},
  {reg::moving_velocity, 10},
  {reg::dts, 10},
  {reg::velocity_unit, 1},
  {reg::hts, 0},
  {reg::max_velocity_limit, 68},
  {reg::max_acceleration, 150},
  {reg::acceleration_multiplier, 1},
}};
}  // namespace

int baud_of_code(int code)
{
  return code >= 0 && code < static_cast<int>(kBauds.size()) ? kBauds[code] : 0;
}

int code_of_baud(int baud)
{
  const auto * found = std::find(kBauds.begin(), kBauds.end(), baud);
  return found == kBauds.end() ? -1 : static_cast<int>(found - kBauds.begin());
}

Memory::Memory(const Identity & identity) : identity_(identity)
{
  load_factory();
  set(reg::id, identity.id);
  set(reg::baud_rate, identity.baud_code);
  power_cycle();
}

void Memory::load_factory()
{
  set(reg::firmware_major, identity_.firmware_major);
  set(reg::firmware_minor, identity_.firmware_minor);
  set(reg::model_number, identity_.model);
  for (const auto & [entry, value] : kFactory) {
    set(entry, value);
  }
}

void Memory::store(std::uint8_t address, std::uint8_t value)
{
  if (eeprom_[address] != value) {
    eeprom_[address] = value;
    ++revision_;
  }
}

void Memory::set(const Register & entry, int value)
{
  const int fitting = std::clamp(value, feetech::min_value(entry), feetech::max_value(entry));
  encode(entry, fitting, &ram_[entry.address]);
  if (entry.eeprom) {
    for (int i = 0; i < entry.size; ++i) {
      store(entry.address + i, ram_[entry.address + i]);
    }
  }
}

void Memory::client_write(std::uint8_t address, std::uint8_t value)
{
  const Register * entry = feetech::find_register(address);
  if (entry == nullptr || entry->read_only) {
    return;
  }
  if (address == reg::id.address && value > kHighestId) {
    return;
  }
  if (address == reg::baud_rate.address && baud_of_code(value) == 0) {
    return;
  }
  ram_[address] = value;
  if (entry->eeprom && get(reg::lock) == 0) {
    store(address, value);
  }
}

void Memory::power_cycle()
{
  ram_.fill(0);
  for (const Register & entry : reg::all) {
    if (entry.eeprom) {
      std::copy_n(&eeprom_[entry.address], entry.size, &ram_[entry.address]);
    }
  }
  set(reg::lock, 1);
  set(reg::torque_limit, get(reg::max_torque));
}

void Memory::factory_reset()
{
  load_factory();
  set(reg::torque_limit, get(reg::max_torque));
}

void Memory::restore(const Register & entry, int value)
{
  std::array<std::uint8_t, 2> bytes{};
  if (!entry.eeprom || entry.read_only || !encode(entry, value, bytes.data())) {
    return;
  }
  if (entry.address == reg::id.address && value > kHighestId) {
    return;
  }
  if (entry.address == reg::baud_rate.address && baud_of_code(value) == 0) {
    return;
  }
  for (int i = 0; i < entry.size; ++i) {
    store(entry.address + i, bytes[i]);
  }
}

}  // namespace so100_hardware::emulator
