// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/system_config.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string_view>
#include <utility>

#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/joints.hpp"
#include "so100_hardware/telemetry.hpp"

namespace so100_hardware
{
namespace
{

std::string_view trimmed(std::string_view text)
{
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

std::string joined(const std::vector<std::string> & parts)
{
  std::string text;
  for (const std::string & part : parts) {
    text += (text.empty() ? "" : ", ") + part;
  }
  return text;
}

bool contains(const std::vector<std::string> & names, const std::string & name)
{
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <class Number>
std::optional<Number> number(std::string_view text)
{
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

/// The parameters of one component; what is wrong goes to `errors` with the component's name. A
/// parameter that is not given leaves its default, and so does a wrong one.
class ParameterReader
{
public:
  ParameterReader(
    std::string owner, const Parameters & parameters, std::vector<std::string> & errors)
  : owner_(std::move(owner)), parameters_(parameters), errors_(errors)
  {
  }

  void error(const std::string & text) { errors_.push_back(owner_ + ": " + text); }

  std::optional<std::string_view> text(const char * name)
  {
    if (!contains(known_, name)) {
      known_.emplace_back(name);
    }
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) {
      return std::nullopt;
    }
    return trimmed(found->second);
  }

  void read(const char * name, std::string & value)
  {
    if (const auto given = text(name)) {
      value = std::string(*given);
    }
  }

  template <class Target>
  void read(const char * name, Target & value, int low, int high)
  {
    if (const auto given = text(name)) {
      const auto parsed = number<int>(*given);
      if (!parsed || *parsed < low || *parsed > high) {
        error(
          std::string(name) + " is " + quoted(*given) + "; give a whole number from " +
          std::to_string(low) + " to " + std::to_string(high));
      } else {
        value = *parsed;
      }
    }
  }

  void read(const char * name, double & value, double low, double high, const char * unit)
  {
    if (const auto given = text(name)) {
      const auto parsed = number<double>(*given);
      // The comparison is written so that NaN fails it.
      if (!parsed || !(*parsed >= low && *parsed <= high)) {
        std::ostringstream range;
        range << low << " to " << high << " " << unit;
        error(std::string(name) + " is " + quoted(*given) + "; give " + range.str());
      } else {
        value = *parsed;
      }
    }
  }

  void read(const char * name, bool & value)
  {
    if (const auto given = text(name)) {
      if (*given == "true" || *given == "True") {
        value = true;
      } else if (*given == "false" || *given == "False") {
        value = false;
      } else {
        error(std::string(name) + " is " + quoted(*given) + "; give true or false");
      }
    }
  }

  /// Those that were not asked for: a misspelt one must not pass for its default.
  void refuse_unknown()
  {
    std::vector<std::string> unknown;
    for (const auto & parameter : parameters_) {
      if (!contains(known_, parameter.first)) {
        unknown.push_back(quoted(parameter.first));
      }
    }
    std::sort(unknown.begin(), unknown.end());
    if (!unknown.empty()) {
      error("no such parameter: " + joined(unknown) + "; known are: " + joined(known_));
    }
  }

private:
  std::string owner_;
  const Parameters & parameters_;
  std::vector<std::string> & errors_;
  std::vector<std::string> known_;
};

void read_time(
  ParameterReader & reader, const char * name, std::chrono::microseconds & time, double shortest,
  double longest)
{
  double seconds = std::chrono::duration<double>(time).count();
  reader.read(name, seconds, shortest, longest, "s");
  time = std::chrono::microseconds(std::lround(seconds * 1e6));
}

void read_system(ParameterReader reader, SystemConfig & config)
{
  reader.read("port", config.port);
  if (config.port.empty()) {
    reader.error(
      "port is missing; give the serial port, such as /dev/ttyACM0 (so100_scan lists them)");
  } else if (config.port.front() != '/') {
    reader.error("port is " + quoted(config.port) + "; give its whole path, such as /dev/ttyACM0");
  }
  reader.read("baud", config.baud, 0, 10000000);
  const auto & bauds = feetech::kScanBaudRates;
  if (std::find(bauds.begin(), bauds.end(), config.baud) == bauds.end()) {
    std::vector<std::string> known;
    for (const int baud : bauds) {
      known.push_back(std::to_string(baud));
    }
    reader.error("baud is " + std::to_string(config.baud) + "; give one of " + joined(known));
  }
  reader.read("calibration_file", config.calibration_file);
  reader.read("calibration_id", config.calibration_id);
  if (config.calibration_file.empty() == config.calibration_id.empty()) {
    reader.error(
      std::string(
        config.calibration_file.empty() ? "no calibration is named"
                                        : "two calibrations are named") +
      "; give either calibration_file (a path) or calibration_id (LeRobot's --robot.id); "
      "so100_calibrate makes one");
  }
  if (
    !config.calibration_file.empty() && config.calibration_file.front() != '/' &&
    config.calibration_file.rfind("~/", 0) != 0) {
    reader.error(
      "calibration_file is " + quoted(config.calibration_file) +
      "; give its whole path, or LeRobot's --robot.id as calibration_id");
  }
  reader.read("joint_prefix", config.joint_prefix);
  read_time(reader, "answer_timeout", config.answer_timeout, 0.02, 5.0);
  read_time(reader, "read_timeout", config.read_timeout, 0.001, 0.5);
  reader.read("return_delay_time", config.return_delay_time, 0, 254);
  reader.read("torque_off_on_deactivate", config.torque_off_on_deactivate);
  if (const auto given = reader.text("on_stop")) {
    config.on_stop = *given == "torque_off" ? OnStop::torque_off : OnStop::hold;
    if (*given != "hold" && *given != "torque_off") {
      reader.error("on_stop is " + quoted(*given) + "; give hold or torque_off");
    }
  }
  reader.read("leader", config.leader);
  reader.read("write_calibration", config.write_calibration);
  reader.refuse_unknown();
}

void read_settings(ParameterReader & reader, ServoSettings & settings)
{
  reader.read("p_coefficient", settings.p_coefficient, 0, 254);
  reader.read("i_coefficient", settings.i_coefficient, 0, 254);
  reader.read("d_coefficient", settings.d_coefficient, 0, 254);
  reader.read("acceleration", settings.acceleration, 0, 254);
  reader.read("maximum_acceleration", settings.maximum_acceleration, 0, 254);
  reader.read("goal_velocity", settings.goal_velocity, 0, 32767);
  reader.read("max_torque_limit", settings.max_torque_limit, 1, 1000);
  reader.read("protection_current", settings.protection_current, 0, 511);
  reader.read("overload_torque", settings.overload_torque, 1, 100);
}

void read_gripper(ParameterReader & reader, JointConfig & joint)
{
  for (const char * name : {"closed_position", "open_position"}) {
    if (joint.motor != kGripper && reader.text(name)) {
      reader.error(std::string(name) + " belongs to the joint gripper; take it out here");
    }
  }
  reader.read("closed_position", joint.gripper.closed, -kPi, kPi, "rad");
  reader.read("open_position", joint.gripper.open, -kPi, kPi, "rad");
  if (joint.gripper.closed == joint.gripper.open) {
    reader.error("closed_position and open_position are equal; give the two ends of its motion");
  }
}

void check_interfaces(ParameterReader & reader, const JointDescription & joint)
{
  if (joint.command_interfaces != std::vector<std::string>{"position"}) {
    reader.error(
      "its command interfaces are [" + joined(joint.command_interfaces) +
      "]; give exactly one, position");
  }
  for (const std::string & name : joint.state_interfaces) {
    if (!contains(state_interface_names(), name)) {
      reader.error(
        "no such state interface: " + quoted(name) +
        "; known are: " + joined(state_interface_names()));
    }
  }
  if (!contains(joint.state_interfaces, "position")) {
    reader.error("the state interface position is missing");
  }
}

JointConfig read_joint(
  const JointDescription & description, const std::string & prefix, ParameterReader reader)
{
  JointConfig joint;
  joint.name = description.name;
  joint.motor = description.name;
  if (!reader.text("id")) {
    reader.error("has no id; give the id of its servo, as <param name=\"id\">2</param>");
  }
  reader.read("id", joint.id, 0, feetech::kBroadcastId - 1);
  reader.read("lerobot_name", joint.motor);
  if (joint.motor.empty()) {
    reader.error("lerobot_name is empty; give LeRobot's name of the joint, such as gripper");
  } else if (reader.text("lerobot_name")) {
    // Any name will do: the calibration has to have it.
  } else if (joint.name.compare(0, prefix.size(), prefix) != 0) {
    reader.error(
      "its name does not begin with joint_prefix " + quoted(prefix) +
      "; or say which joint of LeRobot's it is: <param name=\"lerobot_name\">gripper</param>");
  } else {
    joint.motor = joint.name.substr(prefix.size());
    if (find_joint(std::string_view(joint.motor)) == nullptr) {
      std::string known;
      for (const JointInfo & info : kJoints) {
        known += (known.empty() ? "" : ", ") + std::string(info.name);
      }
      reader.error(
        "its name is none of LeRobot's (" + known +
        "); say which joint it is: <param name=\"lerobot_name\">gripper</param>, or give what "
        "stands before the names as joint_prefix");
    }
  }

  if (joint.motor == kGripper) {
    // LeRobot's limits for the gripper, which would otherwise hold against a closed grip until
    // its overload protection latches.
    joint.settings.max_torque_limit = 500;
    joint.settings.protection_current = 250;
    joint.settings.overload_torque = 25;
  }
  read_settings(reader, joint.settings);
  read_gripper(reader, joint);
  reader.refuse_unknown();
  check_interfaces(reader, description);
  return joint;
}

}  // namespace

std::string JointConfig::label() const { return name + " (id " + std::to_string(id) + ")"; }

ParsedConfig parse_config(const SystemDescription & description)
{
  ParsedConfig parsed;
  SystemConfig & config = parsed.config;
  read_system(ParameterReader("hardware", description.parameters, parsed.errors), config);

  if (description.joints.empty()) {
    parsed.errors.push_back("hardware: no joint is named; give the joints of the arm");
  }
  for (const JointDescription & joint : description.joints) {
    config.joints.push_back(read_joint(
      joint, config.joint_prefix,
      ParameterReader("joint " + quoted(joint.name), joint.parameters, parsed.errors)));
  }
  for (std::size_t i = 0; i < config.joints.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      if (config.joints[i].id >= 0 && config.joints[i].id == config.joints[k].id) {
        parsed.errors.push_back(
          "joint " + quoted(config.joints[i].name) + ": has id " +
          std::to_string(config.joints[i].id) + ", and so has " + quoted(config.joints[k].name) +
          "; every servo needs its own id");
      }
      if (config.joints[i].motor == config.joints[k].motor) {
        parsed.errors.push_back(
          "joint " + quoted(config.joints[i].name) + ": is LeRobot's " +
          quoted(config.joints[i].motor) + ", and so is " + quoted(config.joints[k].name) +
          "; give each its own lerobot_name");
      }
    }
  }
  return parsed;
}

}  // namespace so100_hardware
