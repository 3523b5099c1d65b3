// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/diagnostics.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware
{
namespace
{

namespace bits = feetech::status_bits;

constexpr double kMissedShare = 0.02;        // of the reads; a sound bus loses none
constexpr double kSupplyDrop = 0.85;         // of the supply at connect()
constexpr double kTemperatureMargin = 10.0;  // K below the servo's own limit
constexpr double kAtRest = 0.05;             // rad/s: the duty is a torque only then
constexpr double kLoopStops = 2.0;           // s without a read; a step of the lifecycle takes 1 s

template <class... Values>
std::string text(const char * format, Values... values)
{
  char buffer[160];
  std::snprintf(buffer, sizeof(buffer), format, values...);
  return buffer;
}

std::string count(std::uint64_t value) { return std::to_string(value); }

double seconds(feetech::Clock::duration time)
{
  return std::chrono::duration<double>(time).count();
}

std::uint64_t grown(std::uint64_t counter, std::uint64_t before)
{
  return counter >= before ? counter - before : counter;  // connect() begins anew
}

/// The findings about one subject; the worst is its level, and each says what to do.
class Findings
{
public:
  void add(Level level, const std::string & text)
  {
    level_ = std::max(level_, level);
    message_ += (message_.empty() ? "" : "; ") + text;
  }
  Level level() const { return level_; }
  std::string message_or(const std::string & well) const
  {
    return message_.empty() ? well : message_;
  }

private:
  Level level_ = Level::ok;
  std::string message_;
};

/// The time between two records [s], and its text.
struct Span
{
  explicit Span(const ArmRecord & record, const ArmRecord & before)
  : seconds_(seconds(record.time - before.time)), cycles(grown(record.cycles, before.cycles))
  {
  }
  std::string period() const { return text("in the last %.0f s", std::max(1.0, seconds_)); }
  double rate() const { return seconds_ > 0.0 ? static_cast<double>(cycles) / seconds_ : 0.0; }

  double seconds_;
  std::uint64_t cycles;
};

std::uint64_t missed_lately(const ServoRecord & servo, const ServoRecord & before)
{
  return grown(servo.counters.missed_reads, before.counters.missed_reads);
}

bool too_many(std::uint64_t reads, const Span & span)
{
  return static_cast<double>(reads) > kMissedShare * static_cast<double>(span.cycles);
}

// What all servos missed is no fault of one of them.
std::uint64_t missed_by_all(const ArmRecord & record, const ArmRecord & before)
{
  std::uint64_t common = record.servos.empty() ? 0 : record.cycles;
  for (std::size_t i = 0; i < record.servos.size(); ++i) {
    common = std::min(common, missed_lately(record.servos[i], before.servos[i]));
  }
  return common;
}

// What the arm does after a reset.
std::string waits_for_goal(const SystemConfig & config, const ArmRecord & record)
{
  std::size_t farthest = 0;
  for (std::size_t i = 0; i < record.servos.size(); ++i) {
    const double distance = record.servos[i].goal_distance;
    // NaN, where there is no command, is not less.
    farthest = distance > record.servos[farthest].goal_distance ? i : farthest;
  }
  const double distance = record.servos.empty() ? 0.0 : record.servos[farthest].goal_distance;
  std::string what = text(
    "the stop was reset, and commands are left out until a new one lies within %.1f rad of where "
    "the arm is",
    kResumeDistance);
  if (distance > kResumeDistance) {
    what += text(
      " (now %s is %.2f rad away): start the executor, or activate the controller anew",
      config.joints[farthest].name.c_str(), distance);
  }
  return what;
}

Diagnostic describe_bus(
  const SystemConfig & config, const ArmRecord & record, const ArmRecord & before,
  feetech::TimePoint now, const std::string & failure)
{
  const Span span(record, before);
  Findings findings;
  std::string well;
  if (record.stop == StopPhase::latched) {
    findings.add(Level::error, "STOPPED: " + describe_stop(config, record, "").text);
  } else if (record.stop == StopPhase::released) {
    findings.add(Level::warn, waits_for_goal(config, record));
  }
  if (!failure.empty()) {
    findings.add(Level::error, failure);
  } else if (!record.connected) {
    findings.add(Level::warn, "not connected: configure and activate the hardware component");
  } else if (const double age = seconds(now - record.time); age > kLoopStops) {
    findings.add(
      Level::error,
      text(
        "no read for %.0f s: the control loop stands still; look at the controller manager", age));
  } else {
    const bool torque = std::all_of(
      record.servos.begin(), record.servos.end(), [](const auto & servo) { return servo.torque; });
    well = text(
      "%zu servos answer, %.0f reads/s, torque %s", record.servos.size(), span.rate(),
      torque ? "on" : "off");
    const std::uint64_t late = grown(record.late_reads, before.late_reads);
    const std::uint64_t missed = missed_by_all(record, before);
    if (too_many(late, span)) {
      findings.add(
        Level::warn, "answers came too late for " + count(late) + " of " + count(span.cycles) +
                       " reads " + span.period() +
                       ": the machine is too busy; give the controller manager real-time "
                       "priority, or run less beside it");
    } else if (too_many(missed, span)) {
      findings.add(
        Level::warn, "no servo answered " + count(missed) + " of " + count(span.cycles) +
                       " reads " + span.period() +
                       ": check the USB cable, the power supply and the first "
                       "cable; or the machine is too busy");
    }
  }
  return {
    findings.level(),
    "bus",
    findings.message_or(well),
    {{"port", config.port},
     {"baud", std::to_string(config.baud)},
     {"connected", record.connected ? "true" : "false"},
     {"cycles", count(record.cycles)},
     {"read_rate", text("%.1f", span.rate())},
     {"late_reads", count(record.late_reads)}}};
}

void judge_supply(const ServoRecord & servo, Findings & findings)
{
  const ServoLimits & limits = servo.limits;
  if (servo.lowest_voltage < limits.min_voltage) {
    findings.add(
      Level::error, text(
                      "supply %.1f V, servo minimum %.1f V: check the power supply, its plug and "
                      "its cable",
                      servo.lowest_voltage, limits.min_voltage));
  } else if (servo.highest_voltage > limits.max_voltage) {
    findings.add(
      Level::error, text(
                      "supply %.1f V, servo maximum %.1f V: take the power off and use the supply "
                      "of the servo's variant (7.4 V or 12 V)",
                      servo.highest_voltage, limits.max_voltage));
  } else if (servo.lowest_voltage < kSupplyDrop * limits.supply) {
    findings.add(
      Level::warn, text(
                     "the supply falls from %.1f V to %.1f V under load: use a stronger power "
                     "supply and shorter cables",
                     limits.supply, servo.lowest_voltage));
  }
}

void judge_temperature(const ServoRecord & servo, Findings & findings)
{
  const double limit = servo.limits.max_temperature;
  if (servo.state.temperature >= limit - kTemperatureMargin) {
    const bool over = servo.state.temperature >= limit;
    findings.add(
      over ? Level::error : Level::warn,
      text(
        "%.0f °C, servo maximum %.0f °C: let it cool down and find out what it pushes against",
        servo.state.temperature, limit));
  }
}

void judge_load(const ServoRecord & servo, Findings & findings)
{
  const ServoLimits & limits = servo.limits;
  if (servo.highest_current >= limits.protection_current && limits.protection_current > 0.0) {
    findings.add(
      Level::warn, text(
                     "current %.2f A, its protection acts from %.2f A on: free the joint",
                     servo.highest_current, limits.protection_current));
  }
  // All the time since the last report, as a motion begins and ends with some load, too.
  if (
    servo.torque && limits.overload_torque > 0.0 && servo.highest_speed < kAtRest &&
    servo.lowest_effort >= limits.overload_torque) {
    findings.add(
      Level::warn,
      text(
        "pushes with %.0f %%, its overload protection acts from %.0f %% on: free the joint",
        100.0 * servo.lowest_effort, 100.0 * limits.overload_torque));
  }
}

void judge_faults(const ServoRecord & servo, Findings & findings)
{
  unsigned faults = servo.faults;
  // Said already, with the numbers.
  if (
    servo.lowest_voltage < servo.limits.min_voltage ||
    servo.highest_voltage > servo.limits.max_voltage) {
    faults &= ~static_cast<unsigned>(bits::voltage);
  }
  if (servo.state.temperature >= servo.limits.max_temperature) {
    faults &= ~static_cast<unsigned>(bits::overheat);
  }
  if (faults != 0) {
    const auto left = static_cast<std::uint8_t>(faults);
    const std::string remedy = feetech::status_remedy(left);
    findings.add(
      Level::error,
      "reports " + feetech::status_text(left) + (remedy.empty() ? "" : ": " + remedy));
  }
}

Diagnostic describe_servo(
  const JointConfig & joint, const ServoRecord & servo, const ServoRecord & before,
  const Span & span, std::uint64_t common, bool connected, bool stopped)
{
  if (!connected) {
    // No values: old ones must not pass for measurements.
    return {
      Level::stale, joint.name, "the driver is not connected", {{"id", std::to_string(joint.id)}}};
  }
  Findings findings;
  judge_supply(servo, findings);
  judge_temperature(servo, findings);
  judge_faults(servo, findings);
  judge_load(servo, findings);
  if (stopped && servo.stop_error.code != feetech::Errc::ok) {
    findings.add(Level::error, "has not confirmed the stop: " + servo.stop_error.text());
  }
  const std::uint64_t missed = missed_lately(servo, before);
  if (too_many(missed - common, span)) {
    findings.add(
      Level::warn, "no answer to " + count(missed) + " of " + count(span.cycles) + " reads " +
                     span.period() + ": check its cable and the one before it");
  }
  const std::uint64_t rejected =
    grown(servo.counters.rejected_goals, before.counters.rejected_goals);
  if (rejected > 0) {
    findings.add(
      Level::warn, count(rejected) + " commands " + span.period() +
                     " were no numbers and were not sent: look at what commands the arm");
  }
  const JointState & state = servo.state;
  Diagnostic status{
    findings.level(),
    joint.name,
    findings.message_or(
      text("%.1f V, %.0f °C, %.2f A", state.voltage, state.temperature, state.current)),
    {{"id", std::to_string(joint.id)},
     {"torque", servo.torque ? "on" : "off"},
     {"faults", feetech::status_text(servo.faults)}}};
  for (const Measurement & one : kMeasurements) {
    status.values.emplace_back(one.label, text("%.*f", one.decimals, state.*one.value));
  }
  for (const Counter & one : kCounters) {
    status.values.emplace_back(one.name, count(servo.counters.*one.value));
  }
  status.values.insert(
    status.values.end(), {{"voltage_lowest", text("%.1f", servo.lowest_voltage)},
                          {"voltage_min", text("%.1f", servo.limits.min_voltage)},
                          {"voltage_max", text("%.1f", servo.limits.max_voltage)},
                          {"temperature_max", text("%.0f", servo.limits.max_temperature)},
                          {"load_max", text("%.3f", servo.limits.overload_torque)},
                          {"current_highest", text("%.3f", servo.highest_current)},
                          {"current_max", text("%.3f", servo.limits.protection_current)},
                          {"missed_reads_lately", count(missed)}});
  return status;
}

}  // namespace

void ArmRecorder::add(const So100Arm & arm)
{
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (lock.owns_lock()) {
    merge(arm);
  }
}

void ArmRecorder::set(const So100Arm & arm)
{
  const std::lock_guard<std::mutex> lock(mutex_);
  merge(arm);
}

ArmRecord ArmRecorder::peek()
{
  const std::lock_guard<std::mutex> lock(mutex_);
  return record_;
}

ArmRecord ArmRecorder::take()
{
  const std::lock_guard<std::mutex> lock(mutex_);
  anew_ = true;
  return record_;
}

void ArmRecorder::merge(const So100Arm & arm)
{
  record_.time = arm.last_read();
  record_.connected = arm.connected();
  record_.cycles = arm.cycles();
  record_.late_reads = arm.late_reads();
  record_.active = arm.active();
  record_.stop = arm.stop_phase();
  record_.stop_tries = arm.stop_tries();
  record_.stop_refusals = arm.stop_refusals();
  for (std::size_t i = 0; i < record_.servos.size(); ++i) {
    ServoRecord & servo = record_.servos[i];
    servo.state = arm.state(i);
    servo.counters = arm.counters(i);
    servo.limits = arm.limits(i);
    servo.torque = arm.torque(i);
    servo.stop_error = arm.stop_error(i);
    servo.goal_distance = arm.goal_distance(i);
    const JointState & state = servo.state;
    const double effort = std::abs(state.effort);
    const double speed = std::abs(state.velocity);
    servo.lowest_voltage = anew_ ? state.voltage : std::min(servo.lowest_voltage, state.voltage);
    servo.highest_voltage = anew_ ? state.voltage : std::max(servo.highest_voltage, state.voltage);
    servo.highest_current = anew_ ? state.current : std::max(servo.highest_current, state.current);
    servo.lowest_effort = anew_ ? effort : std::min(servo.lowest_effort, effort);
    servo.highest_speed = anew_ ? speed : std::max(servo.highest_speed, speed);
    servo.faults = static_cast<std::uint8_t>((anew_ ? 0 : servo.faults) | state.faults());
  }
  anew_ = false;
}

StopOutcome describe_stop(
  const SystemConfig & config, const ArmRecord & record, const std::string & failure)
{
  const std::string cut = "cut the power";
  std::string silent;
  std::string limp;
  const auto list = [](std::string & names, const std::string & name) {
    names += (names.empty() ? "" : ", ") + name;
  };
  if (!record.connected) {
    for (std::size_t i = 0; i < record.servos.size(); ++i) {
      if (record.servos[i].torque) {
        list(silent, config.joints[i].label());
      }
    }
    const std::string why = failure.empty() ? "" : " (" + failure + ")";
    return {
      false, silent.empty()
               ? "the driver is not connected to the arm" + why
               : silent + " did not confirm that the torque is off" + why + "; " + cut};
  }
  if (record.stop != StopPhase::latched || record.stop_tries == 0) {
    return {
      false, "the control loop has not come to it: look at the controller manager, and " + cut};
  }
  std::string others;
  for (std::size_t i = 0; i < record.servos.size(); ++i) {
    const feetech::Error & error = record.servos[i].stop_error;
    const std::string label = config.joints[i].label();
    if (error.code == feetech::Errc::timeout) {
      list(silent, label);
    } else if (error.code != feetech::Errc::ok) {
      others += (others.empty() ? "" : "; ") + label + " did not confirm it: " + error.text();
    } else if (!record.servos[i].torque) {
      list(limp, label);
    }
  }
  if (!silent.empty()) {
    others = silent + " did not answer" + (others.empty() ? "" : "; " + others);
  }
  if (!others.empty()) {
    return {false, others + "; " + cut};
  }
  const std::string all = "all " + count(record.servos.size()) + " servos answered";
  if (config.on_stop == OnStop::torque_off || !record.active) {
    return {true, all + (limp.empty() ? " and hold" : ": their torque is off")};
  }
  return {true, all + (limp.empty() ? " and hold" : " and hold, but without torque: " + limp)};
}

std::vector<Diagnostic> describe(
  const SystemConfig & config, const ArmRecord & record, const ArmRecord & before,
  feetech::TimePoint now, const std::string & failure)
{
  std::vector<Diagnostic> all{describe_bus(config, record, before, now, failure)};
  const Span span(record, before);
  const std::uint64_t common = missed_by_all(record, before);
  for (std::size_t i = 0; i < config.joints.size(); ++i) {
    all.push_back(describe_servo(
      config.joints[i], record.servos[i], before.servos[i], span, common, record.connected,
      record.stop == StopPhase::latched && record.stop_tries > 0));
  }
  return all;
}

std::string recovery_commands(const std::string & component, const std::string & name_space)
{
  const bool none = name_space.empty() || name_space == "/";
  const std::string manager = none ? "" : " -c " + name_space + "/controller_manager";
  return "ros2 control set_hardware_component_state" + manager + " " + component +
         " active && ros2 control switch_controllers" + manager +
         " --activate joint_state_broadcaster arm_controller";
}

}  // namespace so100_hardware
