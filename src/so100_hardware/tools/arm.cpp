// SPDX-License-Identifier: Apache-2.0
#include "arm.hpp"

#include "connection.hpp"
#include "scan.hpp"
#include "so100_hardware/joints.hpp"

namespace so100_hardware::tools
{

namespace registers = feetech::registers;

std::string ArmServo::label() const { return joint + " (id " + std::to_string(id) + ")"; }

Arm lerobot_arm()
{
  Arm arm;
  for (const JointInfo & joint : kJoints) {
    arm.push_back({std::string(joint.name), joint.id});
  }
  return arm;
}

Arm arm_of(const Calibration & calibration)
{
  Arm arm;
  for (const JointInfo & joint : kJoints) {
    const JointCalibration * entry = calibration.find(joint.name);
    if (entry != nullptr) {
      arm.push_back({entry->joint, static_cast<std::uint8_t>(entry->id)});
    }
  }
  return arm;
}

ArmCheck check_arm(feetech::Bus & bus, const Arm & arm)
{
  ArmCheck check;
  std::vector<ScannedServo> present;
  for (const ArmServo & servo : arm) {
    ScannedServo scanned;
    scanned.id = servo.id;
    scanned.baud = bus.options().baud;
    const auto read = read_details(bus, scanned);
    if (!read) {
      return {{read.error().text()}, {}};
    }
    if (!scanned.duplicate && !scanned.model) {
      const auto ping = bus.ping(servo.id);
      if (!ping) {
        check.problems.push_back(servo.joint + ": " + ping.error().text());
        continue;
      }
    }
    present.push_back(scanned);
  }
  for (const Notice & notice : servo_notices(present)) {
    switch (notice.kind) {
      case Notice::Kind::firmware:
      case Notice::Kind::fault:
        check.warnings.push_back(notice.text);
        break;
      case Notice::Kind::baud:  // a bus can run at any rate, once all servos are there
        break;
      default:
        check.problems.push_back(notice.text);
    }
  }
  return check;
}

feetech::Result<bool> torque_on(feetech::Bus & bus, const Arm & arm)
{
  bool on = false;
  for (const ArmServo & servo : arm) {
    const auto torque = bus.read(servo.id, registers::torque_enable);
    if (!torque) {
      return torque.error();
    }
    on = on || torque.value().value != 0;
  }
  return on;
}

feetech::Result<void> torque_off(feetech::Bus & bus, const Arm & arm)
{
  feetech::Result<void> first;
  for (const ArmServo & servo : arm) {
    const auto result = bus.write(servo.id, registers::torque_enable, 0);
    if (first.ok()) {
      first = result;
    }
  }
  return first;
}

feetech::Result<ArmEeprom> read_eeprom(feetech::Bus & bus, const Arm & arm)
{
  ArmEeprom values;
  for (const ArmServo & servo : arm) {
    const auto result = read_joint_eeprom(bus, servo.id);
    if (!result) {
      return result.error();
    }
    values.push_back(result.value());
  }
  return values;
}

feetech::Result<void> write_eeprom(feetech::Bus & bus, const Arm & arm, const ArmEeprom & values)
{
  feetech::Result<void> first;
  for (std::size_t i = 0; i < arm.size(); ++i) {
    const auto result = write_joint_eeprom(bus, arm[i].id, values[i]);
    if (first.ok()) {
      first = result;
    }
  }
  return first;
}

}  // namespace so100_hardware::tools
