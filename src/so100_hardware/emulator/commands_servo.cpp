// SPDX-License-Identifier: Apache-2.0
// The commands that act on servos and their joints, and those that report.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "command_words.hpp"
#include "commands.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
using Json = nlohmann::ordered_json;

constexpr double kHandSpeed = 2000.0;  // ticks/s
constexpr double kFastestHand = 100000.0;
/// Where the second servo of a doubled id stands, so that the two differ in what they say.
constexpr double kDoubleStart = 1365.0;

/// Rounded to 1/`parts`: shown numbers need no more digits.
double brief(double value, double parts) { return std::round(value * parts) / parts; }
}  // namespace

std::string Commands::double_id(const Words & words)
{
  bool on = false;
  double id = 0.0;
  if (!number(words[1], 0, feetech::kMaxServoId, id) || !on_off(words[2], on)) {
    return fail("use: double ID on|off");
  }
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const Unit & unit = arm_.unit(i);
    const auto mine = std::find(doubles_.begin(), doubles_.end(), &unit);
    if (unit.servo.id() != id || (mine == doubles_.end()) != on) {
      continue;
    }
    if (!on) {
      doubles_.erase(mine);
      arm_.remove(i);
      faults_.remove(i);
      return "ok";
    }
    ServoOptions options;
    options.identity.id = unit.servo.id();
    options.identity.model = static_cast<std::uint16_t>(unit.servo.get(reg::model_number));
    options.identity.firmware_major = unit.servo.memory().byte(reg::firmware_major.address);
    options.identity.firmware_minor = unit.servo.memory().byte(reg::firmware_minor.address);
    options.identity.baud_code = unit.servo.memory().byte(reg::baud_rate.address);
    options.joint.start = kDoubleStart;
    arm_.add(options);
    faults_.add();
    doubles_.push_back(&arm_.unit(arm_.size() - 1));
    return "ok";
  }
  return fail("there is no servo " + words[1] + (on ? " to double" : " that was doubled"));
}

std::string Commands::voltage(const Words & words)
{
  constexpr double kHighest = 25.0;
  double volts = 0.0;
  if (!number(words[1], 0, kHighest, volts)) {
    return fail("'" + words[1] + "' is no voltage (0 to 25)");
  }
  arm_.set_supply(volts);
  return "ok";
}

std::string Commands::temperature(const Words & words)
{
  double celsius = 0.0;
  if (!number(words[2], 0, 150, celsius)) {
    return fail("'" + words[2] + "' is no temperature (0 to 150 °C)");
  }
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    arm_.unit(i).servo.dynamics().set_temperature(celsius);
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::encoder(const Words & words)
{
  bool on = false;
  if (!on_off(words[2], on)) {
    return fail("use: encoder SERVO on|off");
  }
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    arm_.unit(i).servo.set_encoder_fault(on);
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::push(const Words & words)
{
  const double turn = feetech::kTicksPerTurn;
  double ticks = 0.0;
  double speed = kHandSpeed;
  if (!number(words[2], 0, turn - 1, ticks)) {
    return fail("'" + words[2] + "' is no encoder angle (0 to 4095 ticks)");
  }
  if (words.size() > 3 && !number(words[3], 1, kFastestHand, speed)) {
    return fail("'" + words[3] + "' is no speed (1 to 100000 ticks/s)");
  }
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    // Within the turn that the joint is in: a hand does not wind it back.
    Dynamics & joint = arm_.unit(i).servo.dynamics();
    joint.hold(ticks + turn * std::floor(joint.position() / turn), speed);
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::block(const Words & words)
{
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    Dynamics & joint = arm_.unit(i).servo.dynamics();
    joint.hold(joint.position(), kHandSpeed);
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::release(const Words & words)
{
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    arm_.unit(i).servo.dynamics().release();
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::overload(const Words & words)
{
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    arm_.unit(i).servo.protection().force_overload();
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::reboot(const Words & words)
{
  std::string error;
  for (const std::size_t i : servos(words.size() > 1 ? words[1] : "all", error)) {
    arm_.unit(i).servo.power_cycle();
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::show(const Words & words)
{
  std::string error;
  Json list = Json::array();
  for (const std::size_t i : servos(words.size() > 1 ? words[1] : "all", error)) {
    const Unit & unit = arm_.unit(i);
    const ServoModel & servo = unit.servo;
    const Dynamics & joint = servo.dynamics();
    list.push_back(
      {{"place", i + 1},
       {"id", servo.id()},
       {"connected", unit.connected},
       {"powered", servo.powered()},
       {"encoder", brief(joint.position(), 100)},
       {"present", servo.get(reg::present_position)},
       {"goal", servo.get(reg::goal_position)},
       {"torque", servo.get(reg::torque_enable)},
       {"velocity", brief(joint.velocity(), 10)},
       {"load_percent", brief(joint.load() * 100.0, 10)},
       {"current_a", brief(joint.current(), 1000)},
       {"voltage_v", servo.get(reg::present_voltage) / 10.0},
       {"temperature_c", brief(joint.temperature(), 10)},
       {"status", feetech::status_text(servo.status())},
       {"held", joint.held()}});
  }
  return error.empty() ? "ok " + list.dump() : error;
}

std::string Commands::stats(const Words & words)
{
  if (words.size() > 1) {
    if (words[1] != "reset") {
      return fail("use: stats [reset]");
    }
    faults_.clear_counts();
    bus_.clear_counts();
    return "ok";
  }
  Json list = Json::array();
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const FaultCounts & counts = faults_.counts(i);
    list.push_back(
      {{"place", i + 1},
       {"id", arm_.unit(i).servo.id()},
       {"requests", counts.requests},
       {"replies", counts.replies},
       {"dropped", counts.dropped},
       {"corrupted", counts.corrupted},
       {"bad_checksum", counts.bad_checksum},
       {"truncated", counts.truncated},
       {"delayed", counts.delayed},
       {"collided", counts.collided}});
  }
  const LineCounts & line = bus_.counts();
  const Json root{
    {"servos", list},
    {"line",
     {{"packets", line.packets},
      {"ignored", line.ignored},
      {"bad_checksums", line.bad_checksums},
      {"unheard_bytes", line.unheard_bytes}}}};
  return "ok " + root.dump();
}

}  // namespace so100_hardware::emulator
