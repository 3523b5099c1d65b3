// SPDX-License-Identifier: Apache-2.0
// Inside of the control cycle: nothing here allocates but the texts at the end.
#include <string>

#include "so100_hardware/so100_arm.hpp"

namespace so100_hardware
{

const std::vector<StateValue> & state_values()
{
  using S = const JointState &;
  using C = const JointCounters &;
  static const std::vector<StateValue> table{
    {"position", [](S state, C) { return state.position; }},
    {"velocity", [](S state, C) { return state.velocity; }},
    {"effort", [](S state, C) { return state.effort; }},
    {"voltage", [](S state, C) { return state.voltage; }},
    {"temperature", [](S state, C) { return state.temperature; }},
    {"current", [](S state, C) { return state.current; }},
    {"status", [](S state, C) { return static_cast<double>(state.status); }},
    {"missed_reads", [](S, C counters) { return static_cast<double>(counters.missed_reads); }},
    {"clamped_goals", [](S, C counters) { return static_cast<double>(counters.clamped_goals); }},
    {"rejected_goals", [](S, C counters) { return static_cast<double>(counters.rejected_goals); }}};
  return table;
}

const std::vector<std::string> & state_interface_names()
{
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const StateValue & one : state_values()) {
      all.emplace_back(one.name);
    }
    return all;
  }();
  return names;
}

void So100Arm::update(std::size_t joint)
{
  const feetech::ServoState & raw = raw_[joint];
  const JointConversion & conversion = conversions_[joint];
  JointState & state = states_[joint];
  state.position = conversion.radians(raw.position);
  state.velocity = conversion.radians_per_second(raw.velocity);
  state.effort = duty_from_load(raw.load);
  state.voltage = volts_from_raw(raw.voltage_dv);
  state.temperature = celsius_from_raw(raw.temperature_c);
  state.current = amperes_from_raw(raw.current);
  state.status = raw.status;
}

bool So100Arm::read()
{
  port_failed_ = false;
  if (!connected()) {
    failure_ = feetech::Error{feetech::Errc::not_open};
    port_failed_ = true;
    return false;
  }
  ++cycles_;
  const auto count =
    feetech::read_states(*bus_, ids_.data(), ids_.size(), raw_.data(), errors_.data());
  if (!count.ok()) {
    failure_ = count.error();
    port_failed_ = true;
    return false;
  }
  bool good = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    JointCounters & counters = counters_[i];
    if (raw_[i].fresh) {
      update(i);
      counters.missed_in_a_row = 0;
      continue;
    }
    ++counters.missed_reads;
    ++counters.missed_in_a_row;
    good = good && counters.missed_in_a_row <= static_cast<unsigned>(config_.max_missed_reads);
  }
  return good;
}

bool So100Arm::write(const double * goals)
{
  if (!active_) {
    return true;
  }
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    const auto goal = conversions_[i].goal(goals[i]);
    if (!goal) {
      ++counters_[i].rejected_goals;
      continue;
    }
    counters_[i].clamped_goals += goal->clamped;
    goals_[i] = goal->tick;
  }
  const auto sent =
    bus_->sync_write(feetech::registers::goal_position, ids_.data(), goals_.data(), ids_.size());
  port_failed_ = !sent.ok();
  if (!sent.ok()) {
    failure_ = sent.error();
  }
  return sent.ok();
}

double So100Arm::goal(std::size_t joint) const
{
  return conversions_[joint].radians(goals_[joint]);
}

std::string So100Arm::failure() const
{
  if (port_failed_) {
    return failure_.text();
  }
  std::string names;
  std::size_t silent = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    if (counters_[i].missed_in_a_row > static_cast<unsigned>(config_.max_missed_reads)) {
      names += (names.empty() ? "" : ", ") + label(i);
      ++silent;
      last = i;
    }
  }
  const std::string cycles = std::to_string(config_.max_missed_reads + 1) + " cycles in a row";
  if (silent == size()) {
    return "no servo has answered for " + cycles + "; is the power supply still on?";
  }
  if (silent > 1) {
    return names + " have not answered for " + cycles + "; is the cable between the servos loose?";
  }
  return names + " has not answered for " + cycles + ": " + errors_[last].text();
}

std::string So100Arm::summary() const
{
  std::string text = std::to_string(cycles_) + " cycles";
  for (std::size_t i = 0; i < size(); ++i) {
    const JointCounters & counters = counters_[i];
    const auto add = [&text, this, i](std::uint64_t count, const char * what) {
      if (count > 0) {
        text += "; " + config_.joints[i].name + " " + std::to_string(count) + " " + what;
      }
    };
    add(counters.missed_reads, "missed reads");
    add(counters.clamped_goals, "clamped goals");
    add(counters.rejected_goals, "rejected goals");
  }
  return text;
}

}  // namespace so100_hardware
