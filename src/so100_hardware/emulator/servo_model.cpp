// SPDX-License-Identifier: Apache-2.0
#include "servo_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;

constexpr double kTurn = feetech::kTicksPerTurn;
constexpr int kCentre = 2048;
constexpr double kBrownOut = 4.0;  // V
constexpr double kCurrentUnit = 0.0065;
constexpr double kVelocityUnit = 50.0;  // of Maximum_Velocity_Limit, steps/s
constexpr double kAccelerationUnit = 100.0;
constexpr int kFastest = 254;
constexpr int kMultiTurnBit = 0x10;
constexpr std::uint8_t kTorqueOff = 0;
constexpr std::uint8_t kDamped = 2;
constexpr std::uint8_t kCentreHere = 128;
/// An overload is forgiven when torque returns with the goal this close to the joint.
constexpr int kForgiven = 64;
/// Sign bit of the duty in Goal_Time (mode 2).
constexpr int kPwmSign = 0x400;

enum Mode { kPosition = 0, kVelocity = 1, kPwm = 2, kStep = 3 };

int rounded(double value) { return static_cast<int>(std::lround(value)); }

bool touches(const feetech::Register & entry, std::uint8_t address, std::size_t size)
{
  return address < entry.address + entry.size && entry.address < address + size;
}

double limit_or_never(int value, double unit)
{
  return value == 0 ? std::numeric_limits<double>::infinity() : value * unit;
}
}  // namespace

ServoModel::ServoModel(const ServoOptions & options)
: options_(options), memory_(options.identity), dynamics_(options.joint)
{
  power_cycle();
}

bool ServoModel::multi_turn() const { return (get(reg::phase) & kMultiTurnBit) != 0; }

bool ServoModel::torque_on() const
{
  const int value = get(reg::torque_enable);
  return value != kTorqueOff && value != kDamped;
}

double ServoModel::counted() const
{
  return dynamics_.position() - get(reg::homing_offset) - kTurn * turns_;
}

int ServoModel::present_position() const
{
  const int ticks = rounded(counted());
  if (multi_turn()) {
    return ticks;
  }
  const int turn = feetech::kTicksPerTurn;
  return (ticks % turn + turn) % turn;
}

void ServoModel::forget_turns()
{
  if (!multi_turn()) {
    const double offset = get(reg::homing_offset);
    turns_ = std::floor((dynamics_.position() - offset + 0.5) / kTurn);
  }
}

int ServoModel::clamped_goal() const
{
  const int goal = get(reg::goal_position);
  const int low = get(reg::min_position_limit);
  const int high = get(reg::max_position_limit);
  return low < high ? std::clamp(goal, low, high) : goal;  // 0 and 0: no limits
}

std::chrono::nanoseconds ServoModel::return_delay() const
{
  return std::chrono::microseconds(2 * get(reg::return_delay));
}

void ServoModel::power_cycle()
{
  memory_.power_cycle();
  protection_.clear_latches();
  pending_.clear();
  turns_ = 0.0;
  // The encoder knows its angle within one turn only.
  turns_ = std::floor((dynamics_.position() - get(reg::homing_offset) + 0.5) / kTurn);
  memory_.set(reg::goal_position, present_position());
  refresh(voltage_);
}

void ServoModel::factory_reset()
{
  memory_.factory_reset();
  memory_.set(reg::torque_enable, kTorqueOff);
  forget_turns();
  refresh(voltage_);
}

void ServoModel::centre_here()
{
  const double angle = dynamics_.position() - kTurn * std::floor(dynamics_.position() / kTurn);
  memory_.set(reg::homing_offset, rounded(angle) - kCentre);
  memory_.set(reg::goal_position, kCentre);
  turns_ = std::floor((dynamics_.position() - get(reg::homing_offset) + 0.5) / kTurn);
}

void ServoModel::apply_torque_enable(std::uint8_t before)
{
  if (get(reg::torque_enable) == kCentreHere) {
    memory_.set(reg::torque_enable, before);
    centre_here();
    return;
  }
  const bool was_on = before != kTorqueOff && before != kDamped;
  if (was_on || !torque_on()) {
    return;
  }
  if (options_.torque_on_holds) {
    memory_.set(reg::goal_position, present_position());
  }
  step_target_ = counted();
  if (std::abs(clamped_goal() - present_position()) <= kForgiven) {
    protection_.clear_latches();
  }
}

void ServoModel::read(std::uint8_t address, std::size_t size, std::uint8_t * out) const
{
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = address + i;
    out[i] = at < Memory::kSize ? memory_.byte(static_cast<std::uint8_t>(at)) : 0;
  }
}

void ServoModel::write(std::uint8_t address, const std::uint8_t * bytes, std::size_t size)
{
  size = std::min(size, Memory::kSize - address);
  const auto before = memory_.byte(reg::torque_enable.address);
  const int mode_before = get(reg::operating_mode);
  for (std::size_t i = 0; i < size; ++i) {
    memory_.client_write(static_cast<std::uint8_t>(address + i), bytes[i]);
  }
  if (touches(reg::homing_offset, address, size) || touches(reg::phase, address, size)) {
    forget_turns();
  }
  if (get(reg::operating_mode) != mode_before) {
    forget_turns();
    step_target_ = counted();
  }
  if (touches(reg::goal_position, address, size)) {
    step_target_ += get(reg::goal_position);
    if (options_.goal_enables_torque && !torque_on()) {
      memory_.set(reg::torque_enable, 1);
    }
  }
  if (memory_.byte(reg::torque_enable.address) != before) {
    apply_torque_enable(before);
  }
  refresh(voltage_);
}

void ServoModel::reg_write(std::uint8_t address, const std::uint8_t * bytes, std::size_t size)
{
  pending_address_ = address;
  pending_.assign(bytes, bytes + size);
  memory_.set(reg::async_write, 1);
}

void ServoModel::action()
{
  if (pending_.empty()) {
    return;
  }
  const std::vector<std::uint8_t> bytes = std::move(pending_);
  pending_.clear();
  memory_.set(reg::async_write, 0);
  write(pending_address_, bytes.data(), bytes.size());
}

DriveCommand ServoModel::command(double voltage) const
{
  DriveCommand result;
  result.voltage = voltage;
  result.p_gain = get(reg::p_coefficient);
  result.d_gain = get(reg::d_coefficient);
  result.torque_limit = std::min(get(reg::torque_limit), 1000) / 1000.0;
  const int tripped = protection_.status() & get(reg::unload_condition);
  if ((tripped & bits::overload) != 0) {
    result.torque_limit = std::min(result.torque_limit, get(reg::protective_torque) / 100.0);
  }
  const bool unloaded = (tripped & ~bits::overload) != 0;
  if (!torque_on() || unloaded) {
    result.drive = get(reg::torque_enable) == kDamped && !unloaded ? Drive::damped : Drive::off;
    return result;
  }
  const int most = get(reg::max_acceleration) == 0 ? kFastest : get(reg::max_acceleration);
  const int asked = get(reg::acceleration) == 0 ? most : get(reg::acceleration);
  result.acceleration = kAccelerationUnit * std::min(asked, most);
  const int top = get(reg::max_velocity_limit);
  const double fastest = top == 0 ? Dynamics::kNoLoadSpeed : kVelocityUnit * top;
  const double goal_velocity = get(reg::goal_velocity);
  const double speed = goal_velocity == 0.0 ? fastest : std::abs(goal_velocity);
  result.speed = std::min(speed, fastest);
  result.drive = Drive::position;
  double goal = clamped_goal();
  switch (get(reg::operating_mode)) {
    case kVelocity:
      result.drive = Drive::velocity;
      result.speed = std::clamp(goal_velocity, -fastest, fastest);
      break;
    case kPwm: {
      const int raw = get(reg::goal_time);
      const double duty = (raw & (kPwmSign - 1)) / 1000.0;
      result.drive = Drive::pwm;
      result.duty = (raw & kPwmSign) != 0 ? -duty : duty;
      break;
    }
    case kStep:
      goal = step_target_;
      break;
    default:
      break;
  }
  result.target = goal + get(reg::homing_offset) + kTurn * turns_;
  return result;
}

ProtectionLimits ServoModel::limits() const
{
  ProtectionLimits result;
  result.min_voltage = get(reg::min_voltage) / 10.0;
  result.max_voltage = get(reg::max_voltage) / 10.0;
  result.max_temperature = get(reg::max_temperature);
  result.overload = limit_or_never(get(reg::overload_torque), 0.01);
  result.overload_time = get(reg::protection_time) / 100.0;
  result.max_current = limit_or_never(get(reg::protection_current), kCurrentUnit);
  result.current_time = get(reg::over_current_time) / 100.0;
  return result;
}

void ServoModel::step(double dt, double voltage)
{
  voltage_ = voltage;
  if (voltage < kBrownOut) {
    powered_ = false;
    dynamics_.step(dt, DriveCommand{});
    return;
  }
  if (!powered_) {
    powered_ = true;
    power_cycle();
  }
  dynamics_.step(dt, command(voltage));
  if (!torque_on()) {
    forget_turns();
  }
  Measurements now;
  now.voltage = std::round(voltage * 10.0) / 10.0;  // judged as it is shown
  now.temperature = dynamics_.temperature();
  now.strain = dynamics_.strain();
  now.current = dynamics_.current();
  now.encoder_fault = encoder_fault_;
  protection_.step(dt, now, limits());
  refresh(voltage);
}

void ServoModel::refresh(double voltage)
{
  memory_.set(reg::present_position, present_position());
  memory_.set(reg::present_velocity, rounded(dynamics_.velocity()));
  memory_.set(reg::present_load, rounded(dynamics_.load() * 1000.0));
  memory_.set(reg::present_voltage, rounded(voltage * 10.0));
  memory_.set(reg::present_temperature, rounded(dynamics_.temperature()));
  memory_.set(reg::status, protection_.status());
  memory_.set(reg::moving, dynamics_.moving() ? 1 : 0);
  memory_.set(reg::present_current, rounded(dynamics_.current() / kCurrentUnit));
  memory_.set(reg::goal_position_mirror, clamped_goal());
}

}  // namespace so100_hardware::emulator
