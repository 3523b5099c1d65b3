// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/servo_setup.hpp"

#include <algorithm>
#include <cstdio>

namespace so100_hardware
{
namespace
{

namespace registers = feetech::registers;
using feetech::RegisterValue;

// Register 18: counts turns beyond the first, so that positions leave 0 to 4095.
constexpr int kMultiTurn = 0x10;

std::string volts(int decivolts)
{
  char text[16];
  std::snprintf(text, sizeof(text), "%.1f V", volts_from_raw(decivolts));
  return text;
}

Report failed(const JointConfig & joint, const feetech::Error & error)
{
  return {{joint.label() + ": " + error.text()}, {}};
}

}  // namespace

std::string ServoTable::firmware() const
{
  return std::to_string(get(registers::firmware_major)) + "." +
         std::to_string(get(registers::firmware_minor));
}

feetech::Result<ServoTable> read_servo_table(feetech::Bus & bus, std::uint8_t id)
{
  ServoTable table;
  const auto block = bus.read_block(id, ServoTable::kBlock);
  if (!block.ok()) {
    return block.error();
  }
  std::copy_n(block.value().data.begin(), table.bytes.size(), table.bytes.begin());
  const auto acceleration = bus.read(id, registers::max_acceleration);
  if (!acceleration.ok()) {
    return acceleration.error();
  }
  table.maximum_acceleration = acceleration.value().value;
  const auto voltage = bus.read(id, registers::present_voltage);
  if (!voltage.ok()) {
    return voltage.error();
  }
  table.voltage_dv = voltage.value().value;
  return table;
}

Report check_servo(const JointConfig & joint, const ServoTable & table)
{
  Report report;
  const std::string model = feetech::model_problem(table.get(registers::model_number));
  if (!model.empty()) {
    report.errors.push_back(joint.label() + ": " + model);
    return report;  // the table of another model means something else
  }
  if (table.get(registers::status_level) == 0) {
    report.errors.push_back(
      joint.label() +
      ": the servo does not acknowledge writes (Response_Status_Level is 0); "
      "write 1 to its register 8");
  }
  const int low = table.get(registers::min_voltage);
  const int high = table.get(registers::max_voltage);
  if (table.voltage_dv < low) {
    report.errors.push_back(
      joint.label() + ": supply " + volts(table.voltage_dv) + ", servo minimum " + volts(low) +
      "; is the right power supply plugged in and switched on?");
  } else if (table.voltage_dv > high) {
    report.errors.push_back(
      joint.label() + ": supply " + volts(table.voltage_dv) + ", servo maximum " + volts(high) +
      "; switch it off and take the power supply for this servo");
  }
  return report;
}

std::vector<RegisterValue> settings_to_store(
  const ServoTable & table, const ServoSettings & settings, int return_delay_time)
{
  std::vector<RegisterValue> wanted{
    {registers::return_delay, return_delay_time},
    {registers::phase, table.get(registers::phase) & ~kMultiTurn},
    {registers::operating_mode, 0},
    {registers::p_coefficient, settings.p_coefficient},
    {registers::d_coefficient, settings.d_coefficient},
    {registers::i_coefficient, settings.i_coefficient},
  };
  if (settings.max_torque_limit) {
    wanted.push_back({registers::max_torque, *settings.max_torque_limit});
  }
  if (settings.protection_current) {
    wanted.push_back({registers::protection_current, *settings.protection_current});
  }
  if (settings.overload_torque) {
    wanted.push_back({registers::overload_torque, *settings.overload_torque});
  }
  wanted.erase(
    std::remove_if(
      wanted.begin(), wanted.end(),
      [&table](const RegisterValue & item) { return table.get(item.reg) == item.value; }),
    wanted.end());
  if (table.maximum_acceleration != settings.maximum_acceleration) {
    wanted.push_back({registers::max_acceleration, settings.maximum_acceleration});
  }
  return wanted;
}

std::vector<RegisterValue> settings_to_set(const ServoTable & table, const ServoSettings & settings)
{
  std::vector<RegisterValue> wanted{
    {registers::acceleration, settings.acceleration},
    {registers::goal_time, 0},
    {registers::goal_velocity, settings.goal_velocity},
  };
  if (settings.max_torque_limit) {
    // The servo copies Max_Torque_Limit here only when it is switched on.
    wanted.push_back({registers::torque_limit, *settings.max_torque_limit});
  }
  wanted.push_back({registers::lock, 1});
  wanted.erase(
    std::remove_if(
      wanted.begin(), wanted.end(),
      [&table](const RegisterValue & item) { return table.get(item.reg) == item.value; }),
    wanted.end());
  return wanted;
}

Report apply_settings(feetech::Bus & bus, const JointConfig & joint, int return_delay_time)
{
  const auto id = static_cast<std::uint8_t>(joint.id);
  const auto table = read_servo_table(bus, id);
  if (!table.ok()) {
    return failed(joint, table.error());
  }
  const auto store = settings_to_store(table.value(), joint.settings, return_delay_time);
  const bool latched = (bus.statistics(id).last_status & feetech::status_bits::overload) != 0;
  feetech::Result<void> status;
  if (!store.empty() || latched) {
    status = bus.write(id, registers::torque_enable, 0);
  }
  if (status.ok() && !store.empty()) {
    status = feetech::write_eeprom(bus, id, store.data(), store.size());
  }
  for (const RegisterValue & item : settings_to_set(table.value(), joint.settings)) {
    if (status.ok()) {
      status = bus.write(id, item.reg, item.value);
    }
  }
  return status.ok() ? Report() : failed(joint, status.error());
}

}  // namespace so100_hardware
