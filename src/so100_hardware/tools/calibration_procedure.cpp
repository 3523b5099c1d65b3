// SPDX-License-Identifier: Apache-2.0
#include "calibration_procedure.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "so100_hardware/feetech/eeprom.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

namespace registers = feetech::registers;

constexpr feetech::Block kPositionBlock{
  registers::present_position.address, registers::present_position.size};
// Bit 4 of Phase lets the servo count turns, and positions leave 0..4095.
constexpr int kMultiTurn = 0x10;
constexpr int kPositionMode = 0;
// The arm trembles in the hand while it is homed; more than this is no trembling.
constexpr int kHomeTolerance = 100;
constexpr int kMaxMissed = 50;
// A joint that moved less was hardly moved: 18 degrees.
constexpr int kHardlyMoved = 200;
// Of its range, what a joint must do once more to show that its ends are there.
constexpr double kSameEnds = 0.9;

bool full_turn(const ArmServo & servo) { return servo.joint == kFullTurnJoint; }

}  // namespace

CalibrationProcedure::CalibrationProcedure(feetech::Bus & bus, Arm arm)
: bus_(bus), arm_(std::move(arm)), joints_(arm_.size())
{
}

CalibrationProcedure::~CalibrationProcedure() { restore(); }

Step CalibrationProcedure::begin()
{
  const auto off = torque_off(bus_, arm_);
  if (!off) {
    return {off.error().text()};
  }
  auto eeprom = read_eeprom(bus_, arm_);
  if (!eeprom) {
    return {eeprom.error().text()};
  }
  eeprom_before_ = std::move(eeprom.value());
  modes_before_.clear();
  phases_before_.clear();
  std::vector<int> phases;
  for (const ArmServo & servo : arm_) {
    const auto mode = bus_.read(servo.id, registers::operating_mode);
    const auto phase = bus_.read(servo.id, registers::phase);
    if (!mode || !phase) {
      return {(mode.ok() ? phase : mode).error().text()};
    }
    modes_before_.push_back(mode.value().value);
    phases_before_.push_back(phase.value().value);
    phases.push_back(phase.value().value & ~kMultiTurn);
  }
  changed_ = true;
  const auto modes = write_modes(std::vector<int>(arm_.size(), kPositionMode), phases);
  return {modes.ok() ? "" : modes.error().text()};
}

Step CalibrationProcedure::home()
{
  // As LeRobot: first the servos' own zero, then the pose.
  const auto reset = write_eeprom(bus_, arm_, ArmEeprom(arm_.size()));
  if (!reset) {
    return {reset.error().text()};
  }
  std::vector<int> positions;
  Step step = read_positions(positions);
  if (!step.ok()) {
    return step;
  }
  ArmEeprom homed(arm_.size());
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const int offset = positions[i] - kHomePosition;
    if (std::abs(offset) > kMaxHomingOffset) {
      return {
        arm_[i].label() + " stands at " + std::to_string(positions[i]) +
          ", the very end of its encoder; turn it a little and press Enter again",
        true};
    }
    joints_[i] = Joint();
    joints_[i].offset = homed[i].homing_offset = offset;
  }
  const auto written = write_eeprom(bus_, arm_, homed);
  if (!written) {
    return {written.error().text()};
  }
  step = read_positions(positions);
  if (!step.ok()) {
    return step;
  }
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    if (std::abs(positions[i] - kHomePosition) > kHomeTolerance) {
      return {
        arm_[i].label() + " reads " + std::to_string(positions[i]) + " in place of " +
          std::to_string(kHomePosition) + " after homing; hold the arm still and press Enter again",
        true};
    }
    joints_[i].min = joints_[i].position = joints_[i].max = positions[i];
    joints_[i].again_min = joints_[i].again_max = positions[i];
  }
  return {};
}

Step CalibrationProcedure::sweep()
{
  std::vector<int> positions;
  const Step step = read_positions(positions);
  if (!step.ok()) {
    // A single answer that got lost is no reason to start again.
    return ++missed_ > kMaxMissed ? step : Step();
  }
  missed_ = 0;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    Joint & joint = joints_[i];
    joint.wrapped = joint.wrapped || std::abs(positions[i] - joint.position) > kTicksPerTurn / 2;
    joint.position = positions[i];
    joint.min = std::min(joint.min, joint.position);
    joint.max = std::max(joint.max, joint.position);
    joint.again_min = std::min(joint.again_min, joint.position);
    joint.again_max = std::max(joint.again_max, joint.position);
    if (!full_turn(arm_[i]) && (joint.wrapped || joint.min < 0 || joint.max > kMaxTick)) {
      return {
        arm_[i].label() +
        " went over the end of its encoder; start again with every joint nearer to the middle of "
        "its range"};
    }
  }
  return {};
}

std::vector<std::string> CalibrationProcedure::unmoved()
{
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    Joint & joint = joints_[i];
    const auto known = known_travel(arm_[i].joint);
    const int width = joint.max - joint.min;
    const bool confirmed = width >= kHardlyMoved && joint.asked >= kSameEnds * width &&
                           joint.again_max - joint.again_min >= kSameEnds * width;
    if (full_turn(arm_[i]) || !known || degrees_of(width) >= known->least || confirmed) {
      continue;
    }
    lines.push_back(
      arm_[i].joint + " (" + std::to_string(degrees_of(width)) + " of about " +
      std::to_string(known->turn) + " degrees)");
    joint.asked = width;
    joint.again_min = joint.again_max = joint.position;
  }
  return lines;
}

std::string CalibrationProcedure::table() const
{
  TextTable table({"JOINT", ">MIN", ">POS", ">MAX", ">DEGREES"});
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const Joint & joint = joints_[i];
    const bool whole = full_turn(arm_[i]);
    const TickRange range = whole ? TickRange{} : TickRange{joint.min, joint.max};
    table.add(
      {arm_[i].joint, std::to_string(range.min), std::to_string(joint.position),
       std::to_string(range.max),
       whole ? "full turn" : std::to_string(degrees_of(range.max - range.min))});
  }
  return table.text();
}

Step CalibrationProcedure::store()
{
  Calibration calibration;
  ArmEeprom values;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const TickRange range =
      full_turn(arm_[i]) ? TickRange{} : TickRange{joints_[i].min, joints_[i].max};
    calibration.joints.push_back(
      {arm_[i].joint, arm_[i].id, 0, joints_[i].offset, range.min, range.max});
    values.push_back(to_eeprom(calibration.joints.back()));
  }
  const auto problems = calibration_problems(calibration);
  if (!problems.empty()) {
    return {problems.front()};
  }
  const auto written = write_eeprom(bus_, arm_, values);
  if (!written) {
    return {written.error().text()};
  }
  calibration_ = std::move(calibration);
  changed_ = false;
  return {};
}

Step CalibrationProcedure::restore()
{
  if (!changed_) {
    return {};
  }
  const auto eeprom = write_eeprom(bus_, arm_, eeprom_before_);
  const auto modes = write_modes(modes_before_, phases_before_);
  changed_ = false;  // what did not work now will not work in the destructor
  for (const auto * result : {&eeprom, &modes}) {
    if (!result->ok()) {
      return {result->error().text()};
    }
  }
  return {};
}

Step CalibrationProcedure::read_positions(std::vector<int> & positions)
{
  std::vector<std::uint8_t> ids;
  for (const ArmServo & servo : arm_) {
    ids.push_back(servo.id);
  }
  std::vector<feetech::BlockReply> replies(ids.size());
  const auto count = bus_.sync_read(kPositionBlock, ids.data(), ids.size(), replies.data());
  if (!count) {
    return {count.error().text()};
  }
  positions.clear();
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (!replies[i].ok()) {
      return {replies[i].to_error(ids[i], kPositionBlock).text()};
    }
    positions.push_back(feetech::decode(registers::present_position, replies[i].data.data()));
  }
  return {};
}

feetech::Result<void> CalibrationProcedure::write_modes(
  const std::vector<int> & modes, const std::vector<int> & phases)
{
  feetech::Result<void> first;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    for (const feetech::RegisterValue & wanted :
         {feetech::RegisterValue{registers::operating_mode, modes[i]},
          feetech::RegisterValue{registers::phase, phases[i]}}) {
      const auto now = bus_.read(arm_[i].id, wanted.reg);
      feetech::Result<void> result = now;
      if (now.ok() && now.value().value != wanted.value) {
        result = feetech::write_eeprom(bus_, arm_[i].id, wanted.reg, wanted.value);
      }
      if (!result && first.ok()) {
        first = result;
      }
    }
  }
  return first;
}

}  // namespace so100_hardware::tools
