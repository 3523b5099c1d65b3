// SPDX-License-Identifier: Apache-2.0
// Switching on and off.
#include "so100_hardware/so100_arm.hpp"

#include <algorithm>
#include <utility>

#include "so100_hardware/feetech/serial_port.hpp"
#include "so100_hardware/servo_setup.hpp"

namespace so100_hardware
{
namespace
{

namespace registers = feetech::registers;

// A joint that lies farther outside of its calibrated range than this, in ticks (9 degrees), was
// calibrated differently or turned over; a smaller distance is a gripper that springs open.
constexpr int kFarOutside = 100;

feetech::Result<std::unique_ptr<feetech::Transport>> open_serial_port(
  const std::string & path, int baud)
{
  auto port = feetech::SerialPort::open(path, baud);
  if (!port.ok()) {
    return port.error();
  }
  return std::unique_ptr<feetech::Transport>(std::move(port.value()));
}

}  // namespace

So100Arm::So100Arm(SystemConfig config, OpenPort open_port)
: config_(std::move(config)), open_port_(open_port ? std::move(open_port) : open_serial_port)
{
  const std::size_t count = size();
  for (const JointConfig & joint : config_.joints) {
    ids_.push_back(static_cast<std::uint8_t>(joint.id));
  }
  conversions_.reserve(count);
  raw_.resize(count);
  errors_.resize(count);
  states_.resize(count);
  counters_.resize(count);
  limits_.resize(count);
  torque_.resize(count);
  doubtful_.resize(count);
  asked_.resize(count);
  goals_.resize(count);
}

So100Arm::~So100Arm() { disconnect(); }

Report So100Arm::activate()
{
  if (!connected()) {
    return {{"not connected"}, {}};
  }
  use_setup_timing();
  Report report = read_all();
  for (std::size_t i = 0; i < size() && report.ok(); ++i) {
    report.add(apply_settings(*bus_, config_.joints[i], config_.return_delay_time));
  }
  if (report.ok()) {
    return_delay_ = kReturnDelayStep * config_.return_delay_time;
    use_setup_timing();
    report.add(hold_and_enable());
  }
  if (report.ok()) {
    active_ = true;
    use_cycle_timing();
  } else {
    report.add(torque_off());
  }
  return report;
}

Report So100Arm::hold_and_enable()
{
  // The settings took time, and a servo that lost its torque has sunk meanwhile.
  Report report = read_all();
  for (std::size_t i = 0; i < size() && report.ok(); ++i) {
    const TickRange range = conversions_[i].range();
    const int present = raw_[i].position;
    const int outside = std::max(range.min - present, present - range.max);
    if (outside > kFarOutside) {
      report.remarks.push_back(
        label(i) + ": stands " + std::to_string(outside) +
        " ticks outside of its calibrated range " + std::to_string(range.min) + " to " +
        std::to_string(range.max) +
        " and will move to it; if it should not be there, calibrate anew");
    }
    goals_[i] = range.clamp(present);
    // One by one, as each is acknowledged: with a lost goal the servo would run to its old one.
    const auto goal = bus_->write(ids_[i], registers::goal_position, present);
    if (!goal.ok()) {
      report.errors.push_back(label(i) + ": " + goal.error().text());
    }
  }
  for (std::size_t i = 0; i < size() && report.ok(); ++i) {
    const auto enabled = bus_->write(ids_[i], registers::torque_enable, 1);
    torque_[i] = enabled.ok() ? 1 : torque_[i];
    doubtful_[i] = 0;
    if (!enabled.ok()) {
      report.errors.push_back(label(i) + ": " + enabled.error().text());
    } else if ((enabled.value().status & feetech::status_bits::overload) != 0) {
      report.errors.push_back(
        label(i) + ": its overload protection has latched; free the joint, then switch the power " +
        "off and on");
    }
  }
  return report;
}

Report So100Arm::read_all()
{
  Report report;
  const auto count = feetech::read_states(*bus_, ids_.data(), size(), raw_.data(), errors_.data());
  if (!count.ok()) {
    report.errors.push_back(count.error().text());
    return report;
  }
  for (std::size_t i = 0; i < size(); ++i) {
    if (raw_[i].fresh) {
      update(i);
      counters_[i].missed_in_a_row = 0;
    } else {
      report.errors.push_back(label(i) + ": " + errors_[i].text());
    }
  }
  return report;
}

Report So100Arm::torque_off()
{
  active_ = false;
  if (!connected()) {
    return {};
  }
  // Called in the control cycle too, where a silent servo must not stop everything else for long.
  set_timing(std::chrono::milliseconds(20), 1);
  // All at once first, so that no joint waits for the silence of another one; then each again,
  // to know that it did.
  const std::vector<int> off(size(), 0);
  auto sent = bus_->sync_write(registers::torque_enable, ids_.data(), off.data(), size());
  Report report;
  for (std::size_t i = 0; i < size() && sent.ok(); ++i) {
    const auto written = bus_->write(ids_[i], registers::torque_enable, 0);
    torque_[i] = written.ok() ? 0 : torque_[i];
    if (!written.ok()) {
      report.errors.push_back(
        label(i) + ": did not confirm that its torque is off (" + written.error().text() +
        "); if it still holds, switch its power off");
    }
    if (!transport_->is_open()) {
      sent = written.ok() ? feetech::Result<void>() : feetech::Result<void>(written.error());
    }
  }
  if (!sent.ok()) {
    report.errors = {
      "the torque could not be switched off: " + sent.error().text() +
      "; the servos may hold their position until their power is switched off"};
  }
  use_cycle_timing();
  return report;
}

Report So100Arm::disconnect()
{
  Report report = torque_off();
  bus_.reset();
  transport_.reset();
  return report;
}

// Nothing waits for a servo here, and a busy machine may let an answer lie for a while.
void So100Arm::use_setup_timing() { set_timing(std::chrono::milliseconds(50), 2); }

// A second attempt would take the time of the next cycle, which asks again anyway. After a miss
// the wait doubles: a cycle that begins late harms less than to give up an arm that is well.
void So100Arm::use_cycle_timing()
{
  const auto most = std::max(
    config_.read_timeout, come_late() ? config_.answer_timeout : config_.answer_timeout / 4);
  auto margin = config_.read_timeout;
  std::uint32_t misses = 0;
  for (const JointCounters & counters : counters_) {
    misses = std::max(misses, counters.missed_in_a_row);
  }
  for (; misses > 0 && margin < most; --misses) {
    margin = std::min(2 * margin, most);
  }
  set_timing(margin, 0);
}

void So100Arm::set_timing(std::chrono::microseconds margin, int retries)
{
  feetech::BusOptions options;
  options.baud = config_.baud;
  options.return_delay = return_delay_;
  options.margin = std::max(margin, config_.read_timeout);
  options.retries = retries;
  options.budget = (retries + 2) * options.margin;
  bus_->set_options(options);
}

}  // namespace so100_hardware
