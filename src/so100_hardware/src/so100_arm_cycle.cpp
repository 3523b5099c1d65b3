// SPDX-License-Identifier: Apache-2.0
// Inside of the control cycle: nothing here allocates but the texts at the end.
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "so100_hardware/so100_arm.hpp"

namespace so100_hardware
{
namespace
{

// Time alone proves nothing where the host stops now and then: most of it was the host's own.
constexpr std::uint32_t kFewestMisses = 5;
// A servo that starts anew misses more than one read.
constexpr std::uint32_t kRebootMisses = 2;
// Times answer_timeout, where answers come, but too late: the servos are well and hold the arm,
// which would fall if it were given up.
constexpr int kLatePatience = 5;

}  // namespace

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
  use_cycle_timing();
  const feetech::TimePoint begin = transport_->now();
  const auto count =
    feetech::read_states(*bus_, ids_.data(), ids_.size(), raw_.data(), errors_.data());
  if (!count.ok()) {
    failure_ = count.error();
    port_failed_ = true;
    return false;
  }
  now_ = transport_->now();
  bool all = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    JointCounters & counters = counters_[i];
    if (raw_[i].fresh) {
      update(i);
      doubtful_[i] |= counters.missed_in_a_row >= kRebootMisses ? 1 : 0;
      counters.missed_in_a_row = 0;
      continue;
    }
    asked_[i] = counters.missed_in_a_row == 0 ? begin : asked_[i];
    ++counters.missed_reads;
    ++counters.missed_in_a_row;
    all = false;
  }
  const std::uint64_t late = count_late();
  late_ += late != late_seen_ ? 1 : 0;
  late_seen_ = late;
  late_before_ = all ? late_ : late_before_;
  bool good = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    good = good && !silent(i);
  }
  return good && (!active_ || torque_kept());
}

bool So100Arm::torque_kept()
{
  std::array<std::size_t, feetech::kMaxSyncServos> joints{};
  std::array<std::uint8_t, feetech::kMaxSyncServos> ids{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    // A silent one is asked when it answers again.
    if (doubtful_[i] != 0 && counters_[i].missed_in_a_row == 0) {
      joints[count] = i;
      ids[count++] = ids_[i];
    }
  }
  if (count == 0) {
    return true;
  }
  constexpr feetech::Register reg = feetech::registers::torque_enable;
  std::array<feetech::BlockReply, feetech::kMaxSyncServos> replies;
  const auto heard =
    bus_->sync_read(feetech::Block{reg.address, reg.size}, ids.data(), count, replies.data());
  if (!heard.ok()) {
    failure_ = heard.error();
    port_failed_ = true;
    return false;
  }
  bool kept = true;
  for (std::size_t k = 0; k < count; ++k) {
    if (replies[k].ok()) {
      doubtful_[joints[k]] = 0;
      torque_[joints[k]] = replies[k].data[0];
      kept = kept && replies[k].data[0] != 0;
    }
  }
  return kept;
}

bool So100Arm::silent(std::size_t joint) const
{
  return counters_[joint].missed_in_a_row >= kFewestMisses &&
         now_ - asked_[joint] >= config_.answer_timeout * (come_late() ? kLatePatience : 1);
}

bool So100Arm::stale() const
{
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    if (counters_[i].missed_in_a_row > 0 && now_ - asked_[i] >= config_.answer_timeout) {
      return true;
    }
  }
  return false;
}

// What came after its time was up: bytes before the next request, and packets after it.
std::uint64_t So100Arm::count_late() const
{
  std::uint64_t late = bus_->statistics().late_bytes;
  for (const std::uint8_t id : ids_) {
    late += bus_->statistics(id).late;
  }
  return late;
}

bool So100Arm::write(const double * goals)
{
  if (!active_ || stale()) {
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
  for (std::size_t i = 0; i < size() && active_; ++i) {
    names += torque_[i] != 0 ? "" : (names.empty() ? "" : ", ") + label(i);
  }
  if (!names.empty()) {
    return names +
           ": without power for a moment, and so without torque; check the power supply, its plug "
           "and the cables";
  }
  std::size_t count = 0;
  std::size_t last = 0;
  feetech::TimePoint since = now_;
  for (std::size_t i = 0; i < size(); ++i) {
    if (silent(i)) {
      names += (names.empty() ? "" : ", ") + label(i);
      ++count;
      last = i;
      since = std::min(since, asked_[i]);
    }
  }
  char time[32];
  std::snprintf(time, sizeof(time), "%.2f s", std::chrono::duration<double>(now_ - since).count());
  if (come_late()) {
    return names + ": no answer in time for " + time +
           ", but some came too late; the machine is too busy for the control loop: give the "
           "controller manager real-time priority, or run less beside it";
  }
  if (count == size()) {
    return std::string("no servo has answered for ") + time + "; is the power supply still on?";
  }
  if (count > 1) {
    return names + " have not answered for " + time + "; is the cable between the servos loose?";
  }
  return names + " has not answered for " + time + ": " + errors_[last].text();
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
