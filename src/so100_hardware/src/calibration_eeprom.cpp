// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/calibration_eeprom.hpp"

#include <array>
#include <cstddef>
#include <tuple>

#include "so100_hardware/feetech/eeprom.hpp"

namespace so100_hardware
{

namespace registers = feetech::registers;

bool operator==(const JointEeprom & a, const JointEeprom & b)
{
  return std::tie(a.homing_offset, a.range_min, a.range_max) ==
         std::tie(b.homing_offset, b.range_min, b.range_max);
}

bool operator!=(const JointEeprom & a, const JointEeprom & b) { return !(a == b); }

JointEeprom to_eeprom(const JointCalibration & joint)
{
  return {joint.homing_offset, joint.range_min, joint.range_max};
}

std::vector<std::string> calibration_differences(
  const JointCalibration & joint, const JointEeprom & servo)
{
  std::vector<std::string> lines;
  const auto compare = [&](const char * name, int file, int eeprom) {
    if (file != eeprom) {
      lines.push_back(
        joint.joint + " (id " + std::to_string(joint.id) + "): " + name + " is " +
        std::to_string(file) + " in the file, " + std::to_string(eeprom) + " in the servo");
    }
  };
  compare("homing_offset", joint.homing_offset, servo.homing_offset);
  compare("range_min", joint.range_min, servo.range_min);
  compare("range_max", joint.range_max, servo.range_max);
  return lines;
}

feetech::Result<JointEeprom> read_joint_eeprom(feetech::Bus & bus, std::uint8_t id)
{
  // Both limits lie beside each other.
  constexpr feetech::Block kLimits{registers::min_position_limit.address, 4};
  const auto limits = bus.read_block(id, kLimits);
  if (!limits) {
    return limits.error();
  }
  const auto offset = bus.read(id, registers::homing_offset);
  if (!offset) {
    return offset.error();
  }
  const std::uint8_t * bytes = limits.value().data.data();
  return JointEeprom{
    offset.value().value, feetech::decode(registers::min_position_limit, bytes),
    feetech::decode(registers::max_position_limit, bytes + registers::min_position_limit.size)};
}

feetech::Result<void> write_joint_eeprom(
  feetech::Bus & bus, std::uint8_t id, const JointEeprom & values)
{
  const auto present = read_joint_eeprom(bus, id);
  if (!present) {
    return present.error();
  }
  std::array<feetech::RegisterValue, 3> writes{};
  std::size_t count = 0;
  const auto add = [&](const feetech::Register & reg, int wanted, int now) {
    if (wanted != now) {
      writes[count++] = {reg, wanted};
    }
  };
  add(registers::homing_offset, values.homing_offset, present.value().homing_offset);
  add(registers::min_position_limit, values.range_min, present.value().range_min);
  add(registers::max_position_limit, values.range_max, present.value().range_max);
  if (count == 0) {
    return {};
  }
  return feetech::write_eeprom(bus, id, writes.data(), count);
}

}  // namespace so100_hardware
