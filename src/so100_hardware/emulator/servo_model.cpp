// SPDX-License-Identifier: Apache-2.0
#include "servo_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/telemetry.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
using feetech::Register;

constexpr std::array<int, 8> kBauds{1000000, 500000, 250000, 128000, 115200, 57600, 38400, 19200};

/// A 12 V STS3215 as it comes. Values not in the manuals (moving threshold and later) are
/// assumed; 84 counts 50 steps/s, so 68 is the servo's top speed.
const std::array<std::pair<Register, int>, 35> kFactory{{
  {reg::return_delay, 250},
  {reg::status_level, 1},
  {reg::min_position_limit, 0},
  {reg::max_position_limit, 4095},
  {reg::max_temperature, 70},
  {reg::max_voltage, 140},
  {reg::min_voltage, 60},
  {reg::max_torque, 1000},
  {reg::phase, 12},
  {reg::unload_condition, 44},
  {reg::led_alarm_condition, 47},
  {reg::p_coefficient, 32},
  {reg::d_coefficient, 32},
  {reg::i_coefficient, 0},
  {reg::min_startup_force, 16},
  {reg::cw_dead_zone, 1},
  {reg::ccw_dead_zone, 1},
  {reg::protection_current, 500},
  {reg::angular_resolution, 1},
  {reg::homing_offset, 0},
  {reg::operating_mode, 0},
  {reg::protective_torque, 20},
  {reg::protection_time, 200},
  {reg::overload_torque, 80},
  {reg::velocity_p, 10},
  {reg::over_current_time, 200},
  {reg::velocity_i, 10},
  {reg::lock, 1},
  {reg::moving_velocity, 10},
  {reg::dts, 10},
  {reg::velocity_unit, 1},
  {reg::hts, 0},
  {reg::max_velocity_limit, 68},
  {reg::max_acceleration, 150},
  {reg::acceleration_multiplier, 1},
}};

namespace bits = feetech::status_bits;

constexpr double kTurn = feetech::kTicksPerTurn;
constexpr int kCenter = 2048;
constexpr double kBrownOut = 4.0;       // V
constexpr double kVelocityUnit = 50.0;  // of Maximum_Velocity_Limit, steps/s
constexpr double kAccelerationUnit = 100.0;
constexpr int kFastest = 254;
constexpr int kMultiTurnBit = 0x10;
constexpr std::uint8_t kTorqueOff = 0;
constexpr std::uint8_t kFree = 2;
constexpr std::uint8_t kCenterHere = 128;
/// An overload is forgiven when torque returns with the goal this close to the joint.
constexpr int kForgiven = 64;

enum Mode { kPosition = 0, kVelocity = 1 };

int rounded(double value) { return static_cast<int>(std::lround(value)); }

bool touches(const feetech::Register & entry, std::uint8_t address, std::size_t size)
{
  return address < entry.address + entry.size && entry.address < address + size;
}

/// Whether the servo keeps its old value: an id that it cannot have, an unknown baud code.
bool refused(const Register & entry, int value)
{
  return (entry.address == reg::id.address && value > feetech::kMaxServoId) ||
         (entry.address == reg::baud_rate.address && baud_of_code(value) == 0);
}

}  // namespace

int baud_of_code(int code)
{
  return code >= 0 && code < static_cast<int>(kBauds.size()) ? kBauds[code] : 0;
}

int code_of_baud(int baud)
{
  const auto * found = std::find(kBauds.begin(), kBauds.end(), baud);
  return found == kBauds.end() ? -1 : static_cast<int>(found - kBauds.begin());
}

Memory::Memory(const Identity & identity) : identity_(identity)
{
  load_factory();
  set(reg::id, identity.id);
  set(reg::baud_rate, identity.baud_code);
  power_cycle();
}

void Memory::load_factory()
{
  set(reg::firmware_major, identity_.firmware_major);
  set(reg::firmware_minor, identity_.firmware_minor);
  set(reg::model_number, identity_.model);
  for (const auto & [entry, value] : kFactory) {
    set(entry, value);
  }
}

void Memory::store(std::uint8_t address, std::uint8_t value)
{
  if (eeprom_[address] != value) {
    eeprom_[address] = value;
    ++revision_;
  }
}

void Memory::set(const Register & entry, int value)
{
  const int fitting = std::clamp(value, feetech::min_value(entry), feetech::max_value(entry));
  encode(entry, fitting, &ram_[entry.address]);
  if (entry.eeprom) {
    for (int i = 0; i < entry.size; ++i) {
      store(entry.address + i, ram_[entry.address + i]);
    }
  }
}

void Memory::client_write(std::uint8_t address, std::uint8_t value)
{
  const Register * entry = feetech::find_register(address);
  if (entry == nullptr || entry->read_only || refused(*entry, value)) {
    return;
  }
  ram_[address] = value;
  if (entry->eeprom && get(reg::lock) == 0) {
    store(address, value);
  }
}

void Memory::power_cycle()
{
  ram_.fill(0);
  for (const Register & entry : reg::all) {
    if (entry.eeprom) {
      std::copy_n(&eeprom_[entry.address], entry.size, &ram_[entry.address]);
    }
  }
  set(reg::lock, 1);
  set(reg::torque_limit, get(reg::max_torque));
}

void Memory::factory_reset()
{
  load_factory();
  set(reg::torque_limit, get(reg::max_torque));
}

void Memory::restore(const Register & entry, int value)
{
  std::array<std::uint8_t, 2> bytes{};
  if (
    !entry.eeprom || entry.read_only || refused(entry, value) ||
    !encode(entry, value, bytes.data())) {
    return;
  }
  for (int i = 0; i < entry.size; ++i) {
    store(entry.address + i, bytes[i]);
  }
}

void Protection::step(double dt, const Measurements & now, const Memory & memory)
{
  const auto limit_or_never = [&memory](const Register & entry, double unit) {
    const int value = memory.get(entry);
    return value == 0 ? std::numeric_limits<double>::infinity() : value * unit;
  };
  // Exactly the limit counts: the torque is capped, so it never gets above a limit that equals
  // the cap.
  const bool overload = now.strain >= limit_or_never(reg::overload_torque, 0.01);
  const bool over_current =
    now.current >= limit_or_never(reg::protection_current, amperes_from_raw(1));
  overload_for_ = overload ? overload_for_ + dt : 0.0;
  over_current_for_ = over_current ? over_current_for_ + dt : 0.0;
  if (overload_for_ > memory.get(reg::protection_time) / 100.0) {
    latched_ |= bits::overload;
  }
  if (over_current_for_ > memory.get(reg::over_current_time) / 100.0) {
    latched_ |= bits::over_current;
  }
  status_ = latched_;
  if (
    now.voltage < memory.get(reg::min_voltage) / 10.0 ||
    now.voltage > memory.get(reg::max_voltage) / 10.0) {
    status_ |= bits::voltage;
  }
  if (now.temperature > memory.get(reg::max_temperature)) {
    status_ |= bits::overheat;
  }
  if (now.encoder_fault) {
    status_ |= bits::encoder;
  }
}

void Protection::force_overload()
{
  latched_ |= bits::overload;
  status_ |= bits::overload;
}

void Protection::clear_latches()
{
  latched_ = 0;
  overload_for_ = 0.0;
  over_current_for_ = 0.0;
  status_ &= static_cast<std::uint8_t>(~(bits::overload | bits::over_current));
}

ServoModel::ServoModel(const ServoOptions & options)
: options_(options), memory_(options.identity), dynamics_(options.joint)
{
  power_cycle();
}

bool ServoModel::multi_turn() const { return (get(reg::phase) & kMultiTurnBit) != 0; }

bool ServoModel::torque_on() const
{
  const int value = get(reg::torque_enable);
  return value != kTorqueOff && value != kFree;
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

void ServoModel::center_here()
{
  const double angle = dynamics_.position() - kTurn * std::floor(dynamics_.position() / kTurn);
  memory_.set(reg::homing_offset, rounded(angle) - kCenter);
  memory_.set(reg::goal_position, kCenter);
  turns_ = std::floor((dynamics_.position() - get(reg::homing_offset) + 0.5) / kTurn);
}

void ServoModel::apply_torque_enable(std::uint8_t before)
{
  if (get(reg::torque_enable) == kCenterHere) {
    memory_.set(reg::torque_enable, before);
    center_here();
    return;
  }
  const bool was_on = before != kTorqueOff && before != kFree;
  if (was_on || !torque_on()) {
    return;
  }
  if (options_.torque_on_holds) {
    memory_.set(reg::goal_position, present_position());
  }
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
  if (
    touches(reg::homing_offset, address, size) || touches(reg::phase, address, size) ||
    get(reg::operating_mode) != mode_before) {
    forget_turns();
  }
  if (touches(reg::goal_position, address, size) && options_.goal_enables_torque && !torque_on()) {
    memory_.set(reg::torque_enable, 1);
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
  const int mode = get(reg::operating_mode);
  if (!torque_on() || unloaded || mode > kVelocity) {
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
  if (mode == kVelocity) {
    result.drive = Drive::velocity;
    result.speed = std::clamp(goal_velocity, -fastest, fastest);
  }
  result.target = clamped_goal() + get(reg::homing_offset) + kTurn * turns_;
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
  now.temperature = temperature_;
  now.strain = dynamics_.strain();
  now.current = dynamics_.current();
  now.encoder_fault = encoder_fault_;
  protection_.step(dt, now, memory_);
  refresh(voltage);
}

void ServoModel::refresh(double voltage)
{
  JointState now;
  now.position = radians_from_ticks(present_position());
  now.velocity = radians_per_second_from_steps(1) * dynamics_.velocity();
  now.effort = dynamics_.load();
  now.current = dynamics_.current();
  now.voltage = voltage;
  now.temperature = temperature_;
  now.status = protection_.status();
  for (const Measurement & one : kMeasurements) {
    memory_.set(one.reg, rounded(now.*one.value / one.si(1)));
  }
  memory_.set(reg::moving, dynamics_.moving() ? 1 : 0);
  memory_.set(reg::goal_position_mirror, clamped_goal());
}

}  // namespace so100_hardware::emulator
