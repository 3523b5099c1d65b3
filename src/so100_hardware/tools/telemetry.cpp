// SPDX-License-Identifier: Apache-2.0
#include "telemetry.hpp"

#include <algorithm>

#include "so100_hardware/conversions.hpp"
#include "text_table.hpp"

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
    return !state.fresh || state.status != 0;
  });
}

std::string Telemetry::table() const
{
  std::vector<std::string> columns{"JOINT", ">ID", ">TICK"};
  if (calibrated_) {
    columns.insert(columns.end(), {">RAD", ">LEROBOT"});
  }
  columns.insert(
    columns.end(),
    {">RAD/S", ">LOAD %", ">AMPERE", ">VOLT", ">TEMP", ">LOST %", ">BAD %", "STATUS"});
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
  return "time_s,joint,id,fresh,position_tick,position_rad,velocity_rad_s,load,current_a,"
         "voltage_v,temperature_c,status,requests,lost,damaged\n";
}

std::string Telemetry::csv() const
{
  std::string lines;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const feetech::ServoState & state = states_[i];
    const feetech::ServoStatistics & counts = bus_.statistics(ids_[i]);
    // An old value must not pass for a measurement.
    const auto fresh = [&state](const std::string & cell) { return state.fresh ? cell : ""; };
    const std::vector<std::string> cells{
      fixed(time_, 4),
      arm_[i].servo.joint,
      std::to_string(ids_[i]),
      state.fresh ? "1" : "0",
      fresh(std::to_string(state.position)),
      fresh(arm_[i].radians ? fixed(arm_[i].radians->radians(state.position), 5) : ""),
      fresh(fixed(velocity(i), 4)),
      fresh(fixed(duty_from_load(state.load), 3)),
      fresh(fixed(amperes_from_raw(state.current), 4)),
      fresh(fixed(volts_from_raw(state.voltage_dv), 1)),
      fresh(std::to_string(state.temperature_c)),
      fresh(std::to_string(state.status)),
      std::to_string(counts.requests),
      std::to_string(counts.timeouts),
      std::to_string(damaged(counts))};
    for (std::size_t k = 0; k < cells.size(); ++k) {
      lines += (k > 0 ? "," : "") + cells[k];
    }
    lines += "\n";
  }
  return lines;
}

double Telemetry::velocity(std::size_t i) const
{
  return arm_[i].radians ? arm_[i].radians->radians_per_second(states_[i].velocity)
                         : radians_per_second_from_steps(states_[i].velocity);
}

std::vector<std::string> Telemetry::row(std::size_t i) const
{
  const Entry & entry = arm_[i];
  const feetech::ServoState & state = states_[i];
  const feetech::ServoStatistics & counts = bus_.statistics(ids_[i]);
  std::vector<std::string> cells{entry.servo.joint, std::to_string(ids_[i])};
  const auto add = [&](const std::string & cell) { cells.push_back(entry.answered ? cell : "-"); };
  add(std::to_string(state.position));
  if (calibrated_) {
    add(entry.radians ? fixed(entry.radians->radians(state.position), 3) : "");
    add(entry.calibration ? lerobot_value(*entry.calibration, state.position) : "");
  }
  add(fixed(velocity(i), 2));
  add(fixed(duty_from_load(state.load) * 100, 1));
  add(fixed(amperes_from_raw(state.current), 2));
  add(fixed(volts_from_raw(state.voltage_dv), 1));
  add(std::to_string(state.temperature_c));
  cells.push_back(fixed(percent(counts.timeouts, counts.requests), 1));
  cells.push_back(fixed(percent(damaged(counts), counts.requests), 1));
  cells.push_back(
    !state.fresh        ? "no answer"
    : state.status == 0 ? "ok"
                        : feetech::status_text(state.status));
  return cells;
}

}  // namespace so100_hardware::tools
