// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/system_config.hpp"

#include <algorithm>
#include <cmath>

#include "parameter_reader.hpp"
#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/joints.hpp"

namespace so100_hardware
{
namespace
{

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
  reader.refuse_unknown(system_parameter_names());
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
  reader.read("write_calibration", config.write_calibration);
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
  if (joint.name.compare(0, prefix.size(), prefix) != 0) {
    reader.error("its name does not begin with joint_prefix " + quoted(prefix));
  } else {
    joint.motor = joint.name.substr(prefix.size());
    if (find_joint(std::string_view(joint.motor)) == nullptr) {
      std::string known;
      for (const JointInfo & info : kJoints) {
        known += (known.empty() ? "" : ", ") + prefix + std::string(info.name);
      }
      reader.error(
        "not a joint of this arm; the joints are " + known +
        " (names with something before them need joint_prefix)");
    }
  }

  reader.refuse_unknown(joint_parameter_names());
  if (!reader.text("id")) {
    reader.error("has no id; give the id of its servo, as <param name=\"id\">2</param>");
  }
  reader.read("id", joint.id, 0, feetech::kBroadcastId - 1);

  if (joint.motor == kGripper) {
    // LeRobot's limits for the gripper, which would otherwise hold against a closed grip until
    // its overload protection latches.
    joint.settings.max_torque_limit = 500;
    joint.settings.protection_current = 250;
    joint.settings.overload_torque = 25;
  }
  read_settings(reader, joint.settings);
  read_gripper(reader, joint);
  check_interfaces(reader, description);
  return joint;
}

}  // namespace

std::string JointConfig::label() const { return name + " (id " + std::to_string(id) + ")"; }

std::string ParsedConfig::text() const
{
  std::string all;
  for (const std::string & error : errors) {
    all += (all.empty() ? "" : "\n") + error;
  }
  return all;
}

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
    }
  }
  return parsed;
}

const std::vector<std::string> & system_parameter_names()
{
  static const std::vector<std::string> names{
    "port",
    "baud",
    "calibration_file",
    "calibration_id",
    "joint_prefix",
    "answer_timeout",
    "read_timeout",
    "return_delay_time",
    "torque_off_on_deactivate",
    "write_calibration"};
  return names;
}

const std::vector<std::string> & joint_parameter_names()
{
  static const std::vector<std::string> names{
    "id",
    "p_coefficient",
    "i_coefficient",
    "d_coefficient",
    "acceleration",
    "maximum_acceleration",
    "goal_velocity",
    "max_torque_limit",
    "protection_current",
    "overload_torque",
    "closed_position",
    "open_position"};
  return names;
}

}  // namespace so100_hardware
