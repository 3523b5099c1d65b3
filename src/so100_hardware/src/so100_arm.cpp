// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/so100_arm.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "so100_hardware/calibration_files.hpp"
#include "so100_hardware/feetech/serial_port.hpp"
#include "so100_hardware/joints.hpp"
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

ServoLimits limits_of(const ServoTable & table, const ServoSettings & settings)
{
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

// Time alone proves nothing where the host stops now and then: most of it was the host's own.
constexpr std::uint32_t kFewestMisses = 5;
// A servo that starts anew misses more than one read.
constexpr std::uint32_t kRebootMisses = 2;
// Times answer_timeout, where answers come, but too late: the servos are well and hold the arm,
// which would fall if it were given up.
constexpr int kLatePatience = 5;

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
  stop_errors_.resize(count);
  distances_.resize(count);
  old_goals_.resize(count);
}

So100Arm::~So100Arm() { disconnect(); }

// --- connecting: the calibration, the port, and whether the servos are the right ones ---

Report So100Arm::connect()
{
  disconnect();
  take_orders();
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
  if (report.ok() && config_.leader) {
    report.add(torque_off());
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
  // A file of LeRobot's arm has all its joints, also where the URDF has fewer.
  std::vector<std::string> motors;
  bool lerobots = true;
  for (const JointConfig & joint : config_.joints) {
    motors.push_back(joint.motor);
    lerobots = lerobots && find_joint(std::string_view(joint.motor)) != nullptr;
  }
  const LoadedCalibration loaded = find_calibration(
    config_.calibration_file.empty() ? config_.calibration_id : config_.calibration_file,
    lerobots ? lerobot_joints() : motors);
  Report report{loaded.problems, loaded.notes};
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
      report.warnings.push_back(
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
    report.warnings.push_back(
      "the servos have different firmware: " + firmwares +
      "; this works here, LeRobot refuses such an arm (Feetech's tool FD updates the firmware)");
  }
  return report;
}

Report So100Arm::check_calibration(std::size_t joint)
{
  const JointConfig & config = config_.joints[joint];
  const JointCalibration & file = *calibration_.find(config.motor);
  const auto servo = read_joint_eeprom(*bus_, ids_[joint]);
  if (!servo.ok()) {
    return {{label(joint) + ": " + servo.error().text()}, {}};
  }
  const auto differences = calibration_differences(file, servo.value());
  Report report;
  if (differences.empty()) {
    return report;
  }
  std::string text;
  for (const std::string & difference : differences) {
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
  // With torque on, another offset would make the servo run to where its goal now lies.
  feetech::Result<void> stored = bus_->write(ids_[joint], registers::torque_enable, 0);
  if (stored.ok()) {
    stored = write_joint_eeprom(*bus_, ids_[joint], to_eeprom(file));
  }
  if (stored.ok()) {
    report.warnings.push_back(text + ". The file's was written to the servo");
  } else {
    report.errors.push_back(label(joint) + ": " + stored.error().text());
  }
  return report;
}

// --- switching on and off ---

Report So100Arm::activate()
{
  if (!connected()) {
    return {{"not connected"}, {}};
  }
  if (config_.leader) {
    return {{"a leader arm is moved by hand: it is read, and its torque stays off"}, {}};
  }
  take_orders();
  if (stop_phase_ == StopPhase::released) {
    stop_phase_ = StopPhase::none;
  }
  ask_anew();
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
    const int present = raw_[i].get(registers::present_position);
    const int outside = std::max(range.min - present, present - range.max);
    if (outside > kFarOutside) {
      report.warnings.push_back(
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
  const bool limp = stop_phase_ == StopPhase::latched && config_.on_stop == OnStop::torque_off;
  for (std::size_t i = 0; i < size() && report.ok() && !limp; ++i) {
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
      sent = written;
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

// --- the control cycle: nothing here allocates but the texts at the end ---

void So100Arm::update(std::size_t joint)
{
  states_[joint] = measure(raw_[joint], &conversions_[joint]);
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
  take_orders();
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
  if (stop_phase_ == StopPhase::latched) {
    return enforce_stop();
  }
  bool good = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    good = good && !silent(i);
  }
  return good && (!active_ || torque_kept());
}

bool So100Arm::torque_kept()
{
  Group group;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    // A silent one is asked when it answers again.
    if (doubtful_[i] != 0 && counters_[i].missed_in_a_row == 0) {
      add(group, i, 1);
    }
  }
  if (group.count == 0) {
    return true;
  }
  constexpr feetech::Register reg = feetech::registers::torque_enable;
  std::array<feetech::BlockReply, feetech::kMaxSyncServos> replies;
  const auto received = bus_->sync_read(
    feetech::Block{reg.address, reg.size}, group.ids.data(), group.count, replies.data());
  if (!received.ok()) {
    failure_ = received.error();
    port_failed_ = true;
    return false;
  }
  bool kept = true;
  for (std::size_t k = 0; k < group.count; ++k) {
    if (replies[k].ok()) {
      doubtful_[group.joints[k]] = 0;
      torque_[group.joints[k]] = replies[k].data[0];
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
  take_orders();
  if (!active_ || stop_phase_ == StopPhase::latched || stale() || !begins_here(goals)) {
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

// --- the stop ---

void So100Arm::stop()
{
  reset_wanted_ = false;
  stop_wanted_ = true;
}

void So100Arm::reset_stop() { reset_wanted_ = true; }

void So100Arm::take_orders()
{
  if (stop_wanted_.exchange(false)) {
    resetting_ = false;
    if (stop_phase_ != StopPhase::latched) {
      stop_phase_ = StopPhase::latched;
      ask_anew();
    }
  }
  // A stop withdraws an earlier reset, so this one is newer.
  if (reset_wanted_.exchange(false) && stop_phase_ == StopPhase::latched) {
    resetting_ = connected();
    stop_phase_ = connected() ? StopPhase::latched : StopPhase::none;
  }
}

void So100Arm::ask_anew()
{
  stop_tries_ = 0;
  resetting_ = false;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    stop_errors_[i] = feetech::Error{feetech::Errc::timeout, ids_[i]};
  }
}

void So100Arm::add(Group & group, std::size_t joint, int value) const
{
  group.joints[group.count] = joint;
  group.ids[group.count] = ids_[joint];
  group.values[group.count++] = value;
}

bool So100Arm::write_and_verify(const feetech::Register & reg, const Group & group)
{
  // All at once, so that no joint waits for the silence of another one.
  const auto sent = bus_->sync_write(reg, group.ids.data(), group.values.data(), group.count);
  Group asked;
  for (std::size_t k = 0; k < group.count; ++k) {
    const std::size_t joint = group.joints[k];
    if (raw_[joint].fresh) {
      add(asked, joint, group.values[k]);
    } else {
      stop_errors_[joint] = errors_[joint];
    }
  }
  constexpr feetech::Register torque = registers::torque_enable;
  constexpr feetech::Register goal = registers::goal_position;
  constexpr feetech::Block block{torque.address, goal.address + goal.size - torque.address};
  std::array<feetech::BlockReply, feetech::kMaxSyncServos> replies;
  feetech::Result<void> result = sent;
  if (sent.ok() && asked.count > 0) {
    result = bus_->sync_read(block, asked.ids.data(), asked.count, replies.data());
  }
  port_failed_ = !result.ok();
  if (port_failed_) {
    failure_ = result.error();
    return false;
  }
  for (std::size_t k = 0; k < asked.count; ++k) {
    const std::size_t joint = asked.joints[k];
    feetech::Error & error = stop_errors_[joint];
    if (!replies[k].ok()) {
      error = replies[k].to_error(asked.ids[k], block);
      continue;
    }
    torque_[joint] = replies[k].data[0];
    doubtful_[joint] = 0;
    const int value = reg.address == torque.address
                        ? replies[k].data[0]
                        : feetech::decode(goal, &replies[k].data[goal.address - torque.address]);
    error = feetech::Error{};
    error.code = value == asked.values[k] ? feetech::Errc::ok : feetech::Errc::not_stored;
    error.servo = asked.ids[k];
    error.address = reg.address;
    error.value = value;
  }
  return true;
}

bool So100Arm::enforce_stop()
{
  ++stop_tries_;
  const bool hold = config_.on_stop == OnStop::hold;
  Group group;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    // One lost answer says nothing of a servo that has confirmed; after more it may have been
    // without power.
    if (counters_[i].missed_in_a_row >= kRebootMisses) {
      stop_errors_[i] = errors_[i];
    }
    if (stop_errors_[i].code == feetech::Errc::ok) {
      continue;
    }
    if (!raw_[i].fresh) {
      stop_errors_[i] = errors_[i];
    }
    if (!hold) {
      add(group, i, 0);  // also to a silent one: it may hear
    } else if (raw_[i].fresh) {
      goals_[i] = raw_[i].get(registers::present_position);
      add(group, i, goals_[i]);
    }
  }
  const auto & reg = hold ? registers::goal_position : registers::torque_enable;
  if (group.count > 0 && !write_and_verify(reg, group)) {
    return false;
  }
  return !resetting_ || release_stop();
}

bool So100Arm::release_stop()
{
  resetting_ = false;
  Group goals;
  Group torque;
  bool good = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    good = good && stop_errors_[i].code == feetech::Errc::ok;
    if (active_ && torque_[i] == 0) {
      goals_[i] = raw_[i].get(registers::present_position);
      add(goals, i, goals_[i]);
      add(torque, i, 1);
    }
  }
  if (!good) {
    ++stop_refusals_;
    return true;
  }
  for (const auto & [reg, group] :
       {std::pair(&registers::goal_position, &goals), {&registers::torque_enable, &torque}}) {
    if (group->count == 0 || !good) {
      break;
    }
    if (!write_and_verify(*reg, *group)) {
      return false;
    }
    for (std::size_t k = 0; k < group->count; ++k) {
      good = good && stop_errors_[group->joints[k]].code == feetech::Errc::ok;
    }
  }
  if (!good) {
    ++stop_refusals_;
    for (std::size_t k = 0; k < goals.count; ++k) {
      // Some may have got their torque.
      stop_errors_[goals.joints[k]].code = feetech::Errc::timeout;
    }
    return true;
  }
  stop_phase_ = active_ ? StopPhase::released : StopPhase::none;
  old_goals_known_ = false;
  std::fill(distances_.begin(), distances_.end(), 0.0);
  return true;
}

bool So100Arm::begins_here(const double * goals)
{
  if (stop_phase_ == StopPhase::none) {
    return true;
  }
  if (!old_goals_known_) {
    std::copy_n(goals, ids_.size(), old_goals_.begin());
    old_goals_known_ = true;
  }
  bool near = true;
  bool old = true;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    distances_[i] = std::abs(goals[i] - states_[i].position);
    near = near && distances_[i] <= kResumeDistance;  // not so with NaN
    old = old && (goals[i] == old_goals_[i] || std::isnan(goals[i]));
  }
  if (near && !old) {
    stop_phase_ = StopPhase::none;
  }
  return near && !old;
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
    for (const Counter & one : kCounters) {
      if (const std::uint64_t count = counters.*one.value; count > 0) {
        std::string what = one.name;
        std::replace(what.begin(), what.end(), '_', ' ');
        text += "; " + config_.joints[i].name + " " + std::to_string(count) + " " + what;
      }
    }
  }
  return text;
}

}  // namespace so100_hardware
