// SPDX-License-Identifier: Apache-2.0
// Connecting: the calibration, the port, and whether the servos are the right ones.
#include <algorithm>
#include <utility>

#include "so100_hardware/calibration_files.hpp"
#include "so100_hardware/feetech/serial_port.hpp"
#include "so100_hardware/servo_setup.hpp"
#include "so100_hardware/so100_arm.hpp"

namespace so100_hardware
{
namespace
{

ServoLimits limits_of(const ServoTable & table, const ServoSettings & settings)
{
  namespace registers = feetech::registers;
  ServoLimits limits;
  limits.supply = volts_from_raw(table.voltage_dv);
  limits.min_voltage = volts_from_raw(table.get(registers::min_voltage));
  limits.max_voltage = volts_from_raw(table.get(registers::max_voltage));
  limits.max_temperature = celsius_from_raw(table.get(registers::max_temperature));
  limits.protection_current = amperes_from_raw(
    settings.protection_current.value_or(table.get(registers::protection_current)));
  limits.overload_torque =
    settings.overload_torque.value_or(table.get(registers::overload_torque)) / 100.0;
  return limits;
}

}  // namespace

Report So100Arm::connect()
{
  disconnect();
  cycles_ = 0;
  late_ = 0;
  late_before_ = 0;
  late_seen_ = 0;
  counters_.assign(size(), JointCounters{});
  Report report;
  if (
    report.add(prepare_calibration()) && report.add(open_port()) && report.add(find_servos()) &&
    report.add(check_servos())) {
    report.add(read_all());
  }
  if (report.ok()) {
    now_ = transport_->now();
    use_cycle_timing();
  } else {
    bus_.reset();
    transport_.reset();
  }
  return report;
}

Report So100Arm::prepare_calibration()
{
  const LoadedCalibration loaded = find_calibration(
    config_.calibration_file.empty() ? config_.calibration_id : config_.calibration_file);
  Report report{loaded.problems, loaded.remarks};
  calibration_ = loaded.calibration;
  conversions_.clear();
  for (const JointConfig & joint : config_.joints) {
    const JointCalibration * file = loaded.ok() ? calibration_.find(joint.motor) : nullptr;
    if (file == nullptr) {
      continue;  // a problem above says so
    }
    if (file->id != joint.id) {
      report.errors.push_back(
        joint.label() + ": " + loaded.file.string() + " was made with id " +
        std::to_string(file->id) + "; is it the calibration of this arm?");
    }
    const auto conversion =
      joint.motor == kGripper
        ? JointConversion::gripper(file->range(), file->drive_mode, joint.gripper)
        : JointConversion::centered(file->range());
    if (conversion) {
      conversions_.push_back(*conversion);
    } else {
      report.errors.push_back(
        joint.label() + ": " + loaded.file.string() +
        " has no usable range for it; calibrate anew");
    }
  }
  return report;
}

Report So100Arm::open_port()
{
  auto opened = open_port_(config_.port, config_.baud);
  if (!opened.ok()) {
    return {{opened.error().text()}, {}};
  }
  transport_ = std::move(opened.value());
  bus_ = std::make_unique<feetech::Bus>(*transport_);
  return_delay_ = kReturnDelayStep * 250;  // factory value
  use_setup_timing();
  const std::string hint = feetech::latency_hint(config_.port);
  return {{}, hint.empty() ? std::vector<std::string>() : std::vector<std::string>{hint}};
}

Report So100Arm::find_servos()
{
  Report report;
  std::size_t silent = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    const auto unique = bus_->check_unique(ids_[i]);
    if (!unique.ok()) {
      silent += unique.error().code == feetech::Errc::timeout;
      report.errors.push_back(label(i) + ": " + unique.error().text());
    }
  }
  if (silent == size()) {
    report.errors = {
      "no servo answers on " + config_.port + " at " + std::to_string(config_.baud) +
      " baud; is the power supply on, the cable in, and the port the one of this arm? "
      "so100_scan looks at all ports and rates"};
    return report;
  }
  const auto found = bus_->broadcast_ping();
  if (!found.ok()) {
    report.errors.push_back(found.error().text());
    return report;
  }
  for (const feetech::FoundServo & servo : found.value().servos) {
    if (std::find(ids_.begin(), ids_.end(), servo.id) == ids_.end()) {
      report.remarks.push_back(
        "a servo with id " + std::to_string(servo.id) +
        " answers too and belongs to no joint; it is left alone");
    }
  }
  return report;
}

Report So100Arm::check_servos()
{
  Report report;
  std::string firmwares;
  bool mixed = false;
  std::string first_firmware;
  return_delay_ = {};
  for (std::size_t i = 0; i < size(); ++i) {
    const JointConfig & joint = config_.joints[i];
    const auto table = read_servo_table(*bus_, ids_[i]);
    if (!table.ok()) {
      report.errors.push_back(label(i) + ": " + table.error().text());
      continue;
    }
    return_delay_ = std::max(
      return_delay_, kReturnDelayStep * table.value().get(feetech::registers::return_delay));
    limits_[i] = limits_of(table.value(), joint.settings);
    torque_[i] = table.value().get(feetech::registers::torque_enable) != 0;
    const std::string firmware = table.value().firmware();
    firmwares += (i == 0 ? "" : ", ") + label(i) + " " + firmware;
    mixed = mixed || (!first_firmware.empty() && firmware != first_firmware);
    first_firmware = first_firmware.empty() ? firmware : first_firmware;
    if (report.add(check_servo(joint, table.value()))) {
      report.add(check_calibration(i));
    }
  }
  if (mixed) {
    report.remarks.push_back(
      "the servos have different firmware: " + firmwares +
      "; this works here, LeRobot refuses such an arm (Feetech's tool FD updates the firmware)");
  }
  return report;
}

Report So100Arm::check_calibration(std::size_t joint)
{
  const JointConfig & config = config_.joints[joint];
  const JointCalibration & file = *calibration_.find(config.motor);
  const auto differences = differing_calibration(*bus_, config, file);
  if (!differences.ok()) {
    return {{label(joint) + ": " + differences.error().text()}, {}};
  }
  Report report;
  if (differences.value().empty()) {
    return report;
  }
  std::string text;
  for (const std::string & difference : differences.value()) {
    // "elbow_flex (id 3): homing_offset is …": the joint is named once.
    text += text.empty() ? difference : ", " + difference.substr(difference.find(": ") + 2);
  }
  if (!config_.write_calibration) {
    report.errors.push_back(
      text +
      ". Write the file's to the servo (so100_calibrate --from-file, or write_calibration: "
      "true), or give the file that this arm was calibrated with");
    return report;
  }
  const auto stored = store_calibration(*bus_, config, file);
  if (stored.ok()) {
    report.remarks.push_back(text + ". The file's was written to the servo");
  } else {
    report.errors.push_back(label(joint) + ": " + stored.error().text());
  }
  return report;
}

}  // namespace so100_hardware
