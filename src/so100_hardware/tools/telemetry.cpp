// SPDX-License-Identifier: Apache-2.0
#include "telemetry.hpp"

#include <algorithm>

#include "so100_hardware/conversions.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

using Clock = std::chrono::steady_clock;

double percent(std::uint64_t part, std::uint64_t whole)
{
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::uint64_t damaged(const feetech::ServoStatistics & s)
{
  return s.checksum_errors + s.wrong_id + s.wrong_length + s.duplicates;
}

std::string lerobot_value(const JointCalibration & joint, int tick)
{
  const auto value = joint.joint == kGripper ? lerobot_0_100(joint.range(), joint.drive_mode, tick)
                                             : lerobot_degrees(joint.range(), tick);
  return value ? fixed(*value, 1) : "";
}

}  // namespace

Telemetry::Telemetry(feetech::Bus & bus, Arm arm, const Calibration & calibration)
: bus_(bus), states_(arm.size()), calibrated_(!calibration.joints.empty()), start_(Clock::now())
{
  for (ArmServo & servo : arm) {
    Entry entry;
    const JointCalibration * joint = calibration.find(servo.joint);
    if (joint != nullptr) {
      entry.calibration = *joint;
      entry.radians = joint->joint == kGripper
                        ? JointConversion::gripper(joint->range(), joint->drive_mode)
                        : JointConversion::centered(joint->range());
    }
    ids_.push_back(servo.id);
    entry.servo = std::move(servo);
    arm_.push_back(std::move(entry));
  }
}

feetech::Result<std::size_t> Telemetry::read()
{
  const auto begin = Clock::now();
  const auto fresh = feetech::read_states(bus_, ids_.data(), ids_.size(), states_.data());
  const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  time_ = std::chrono::duration<double>(begin - start_).count();
  longest_ms_ = std::max(longest_ms_, ms);
  total_ms_ += ms;
  ++reads_;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    arm_[i].answered = arm_[i].answered || states_[i].fresh;
  }
  return fresh;
}

bool Telemetry::faults() const
{
  return std::any_of(states_.begin(), states_.end(), [](const feetech::ServoState & state) {
    return !state.fresh || state.get(feetech::registers::status) != 0;
  });
}

std::string Telemetry::table() const
{
  std::vector<std::string> columns{"JOINT", ">ID", ">TICK"};
  if (calibrated_) {
    columns.insert(columns.end(), {">RAD", ">LEROBOT"});
  }
  for (const Measurement & one : kMeasurements) {
    if (*one.heading != '\0') {
      columns.push_back(one.heading);
    }
  }
  columns.insert(columns.end(), {">LOST %", ">BAD %", "STATUS"});
  TextTable table(columns);
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    table.add(row(i));
  }
  const double mean = reads_ > 0 ? total_ms_ / static_cast<double>(reads_) : 0.0;
  return table.text() + std::to_string(reads_) + (reads_ == 1 ? " read, " : " reads, ") +
         fixed(mean, 2) + " ms each, " + fixed(longest_ms_, 2) + " ms the longest\n";
}

std::string Telemetry::csv_header()
{
  std::string line = "time_s,joint,id,fresh,position_tick";
  for (const Measurement & one : kMeasurements) {
    line += std::string(",") + one.label + (*one.symbol == '\0' ? "" : "_") + one.symbol;
  }
  return line + ",requests,lost,damaged\n";
}

std::string Telemetry::csv() const
{
  std::string lines;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const JointState state = this->state(i);
    const feetech::ServoStatistics & counts = bus_.statistics(ids_[i]);
    lines += fixed(time_, 4) + "," + arm_[i].servo.joint + "," + std::to_string(ids_[i]) + "," +
             (states_[i].fresh ? "1" : "0");
    // An old value must not pass for a measurement, nor an encoder's angle for a joint's.
    const auto add = [&](bool known, const std::string & cell) {
      lines += "," + (known && states_[i].fresh ? cell : "");
    };
    add(true, std::to_string(tick(i)));
    for (const Measurement & one : kMeasurements) {
      add(
        arm_[i].radians || one.value != &JointState::position,
        fixed(state.*one.value, one.decimals));
    }
    lines += "," + std::to_string(counts.requests) + "," + std::to_string(counts.timeouts) + "," +
             std::to_string(damaged(counts)) + "\n";
  }
  return lines;
}

JointState Telemetry::state(std::size_t i) const
{
  return measure(states_[i], arm_[i].radians ? &*arm_[i].radians : nullptr);
}

int Telemetry::tick(std::size_t i) const
{
  return states_[i].get(feetech::registers::present_position);
}

std::vector<std::string> Telemetry::row(std::size_t i) const
{
  const Entry & entry = arm_[i];
  const JointState state = this->state(i);
  const feetech::ServoStatistics & counts = bus_.statistics(ids_[i]);
  std::vector<std::string> cells{entry.servo.joint, std::to_string(ids_[i])};
  const auto add = [&](const std::string & cell) { cells.push_back(entry.answered ? cell : "-"); };
  add(std::to_string(tick(i)));
  if (calibrated_) {
    add(entry.radians ? fixed(state.position, 3) : "");
    add(entry.calibration ? lerobot_value(*entry.calibration, tick(i)) : "");
  }
  for (const Measurement & one : kMeasurements) {
    if (*one.heading != '\0') {
      add(fixed(state.*one.value * one.scale, one.digits));
    }
  }
  cells.push_back(fixed(percent(counts.timeouts, counts.requests), 1));
  cells.push_back(fixed(percent(damaged(counts), counts.requests), 1));
  cells.push_back(
    !states_[i].fresh     ? "no answer"
    : state.faults() == 0 ? "ok"
                          : feetech::status_text(state.faults()));
  return cells;
}

}  // namespace so100_hardware::tools
