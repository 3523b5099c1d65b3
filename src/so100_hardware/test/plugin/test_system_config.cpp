// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>

#include "descriptions.hpp"
#include "so100_hardware/system_config.hpp"

namespace so100_hardware
{
namespace
{

using test::arm_description;
using test::lines_mention;

JointDescription & joint(SystemDescription & description, const std::string & name)
{
  for (JointDescription & candidate : description.joints) {
    if (candidate.name == name) {
      return candidate;
    }
  }
  throw std::logic_error("no joint " + name);
}

/// The parameters of the hardware or of a joint, as the message about an unknown one names them.
std::vector<std::string> known(bool of_joint)
{
  SystemDescription description = arm_description();
  (of_joint ? description.joints.front().parameters : description.parameters)["x"] = "";
  const std::string text = parse_config(description).text();
  std::istringstream list(text.substr(text.find("known are: ") + 11));
  std::vector<std::string> names;
  for (std::string name; list >> name;) {
    names.push_back(name.substr(0, name.find(',')));
  }
  return names;
}

TEST(SystemConfig, DefaultsAreLeRobots)
{
  const ParsedConfig parsed = parse_config(arm_description());
  ASSERT_EQ(parsed.text(), "");
  const SystemConfig & config = parsed.config;
  EXPECT_EQ(config.baud, 1000000);
  EXPECT_EQ(config.answer_timeout, std::chrono::milliseconds(200));
  EXPECT_EQ(config.read_timeout, std::chrono::milliseconds(5));
  EXPECT_EQ(config.return_delay_time, 0);
  EXPECT_TRUE(config.torque_off_on_deactivate);
  EXPECT_FALSE(config.leader);
  EXPECT_FALSE(config.write_calibration);
  EXPECT_EQ(config.on_stop, OnStop::hold);
  ASSERT_EQ(config.joints.size(), 6u);
  for (const JointConfig & joint : config.joints) {
    EXPECT_EQ(joint.settings.p_coefficient, 16) << joint.name;
    EXPECT_EQ(joint.settings.i_coefficient, 0) << joint.name;
    EXPECT_EQ(joint.settings.d_coefficient, 32) << joint.name;
    EXPECT_EQ(joint.settings.acceleration, 254) << joint.name;
    EXPECT_EQ(joint.settings.maximum_acceleration, 254) << joint.name;
    const bool gripper = joint.name == "gripper";
    EXPECT_EQ(joint.settings.max_torque_limit.value_or(-1), gripper ? 500 : -1) << joint.name;
    EXPECT_EQ(joint.settings.protection_current.value_or(-1), gripper ? 250 : -1) << joint.name;
    EXPECT_EQ(joint.settings.overload_torque.value_or(-1), gripper ? 25 : -1) << joint.name;
  }
}

TEST(SystemConfig, EveryParameterIsRead)
{
  SystemDescription description = arm_description();
  description.parameters = {
    {"port", " /dev/ttyUSB3\n"},
    {"baud", "500000"},
    {"calibration_id", "blue"},
    {"joint_prefix", "left_"},
    {"answer_timeout", "0.35"},
    {"read_timeout", "0.02"},
    {"return_delay_time", "5"},
    {"torque_off_on_deactivate", "false"},
    {"write_calibration", "true"},
    {"on_stop", "torque_off"},
    {"leader", "true"},
  };
  for (JointDescription & joint : description.joints) {
    joint.name = "left_" + joint.name;
  }
  joint(description, "left_gripper").parameters = {
    {"id", "9"},
    {"lerobot_name", "gripper"},
    {"p_coefficient", "20"},
    {"i_coefficient", "1"},
    {"d_coefficient", "2"},
    {"acceleration", "50"},
    {"maximum_acceleration", "60"},
    {"goal_velocity", "1000"},
    {"max_torque_limit", "400"},
    {"protection_current", "200"},
    {"overload_torque", "30"},
    {"closed_position", "0"},
    {"open_position", "1.5"},
  };
  ASSERT_EQ(joint(description, "left_gripper").parameters.size(), known(true).size());

  const ParsedConfig parsed = parse_config(description);
  ASSERT_EQ(parsed.text(), "");
  const SystemConfig & config = parsed.config;
  EXPECT_EQ(config.port, "/dev/ttyUSB3");
  EXPECT_EQ(config.baud, 500000);
  EXPECT_EQ(config.calibration_id, "blue");
  EXPECT_EQ(config.answer_timeout, std::chrono::milliseconds(350));
  EXPECT_EQ(config.read_timeout, std::chrono::milliseconds(20));
  EXPECT_EQ(config.return_delay_time, 5);
  EXPECT_FALSE(config.torque_off_on_deactivate);
  EXPECT_TRUE(config.write_calibration);
  EXPECT_EQ(config.on_stop, OnStop::torque_off);
  EXPECT_TRUE(config.leader);
  const JointConfig & gripper = config.joints.back();
  EXPECT_EQ(gripper.motor, "gripper");
  EXPECT_EQ(gripper.label(), "left_gripper (id 9)");
  EXPECT_EQ(gripper.settings.p_coefficient, 20);
  EXPECT_EQ(gripper.settings.i_coefficient, 1);
  EXPECT_EQ(gripper.settings.d_coefficient, 2);
  EXPECT_EQ(gripper.settings.acceleration, 50);
  EXPECT_EQ(gripper.settings.maximum_acceleration, 60);
  EXPECT_EQ(gripper.settings.goal_velocity, 1000);
  EXPECT_EQ(gripper.settings.max_torque_limit, 400);
  EXPECT_EQ(gripper.settings.protection_current, 200);
  EXPECT_EQ(gripper.settings.overload_torque, 30);
  EXPECT_EQ(gripper.gripper.closed, 0.0);
  EXPECT_EQ(gripper.gripper.open, 1.5);
}

struct BadSystem
{
  const char * name;
  const char * value;  // nullptr: the parameter is taken out
  const char * message;
};

class BadSystemParameter : public ::testing::TestWithParam<BadSystem>
{
};

TEST_P(BadSystemParameter, IsNamedWithItsValue)
{
  SystemDescription description = arm_description();
  if (GetParam().value == nullptr) {
    description.parameters.erase(GetParam().name);
  } else {
    description.parameters[GetParam().name] = GetParam().value;
  }
  EXPECT_TRUE(lines_mention(parse_config(description).errors, {{GetParam().message}}));
}

INSTANTIATE_TEST_SUITE_P(
  All, BadSystemParameter,
  ::testing::Values(
    BadSystem{"port", nullptr, "port is missing"}, BadSystem{"port", "", "port is missing"},
    BadSystem{"port", "ttyACM0", "port is 'ttyACM0'; give its whole path"},
    BadSystem{"baud", "9600", "baud is 9600; give one of 1000000"},
    BadSystem{"baud", "1 Mbps", "baud is '1 Mbps'; give a whole number"},
    BadSystem{"calibration_file", nullptr, "no calibration is named"},
    BadSystem{"calibration_id", "blue", "two calibrations are named"},
    BadSystem{
      "calibration_file", "arm.json", "calibration_file is 'arm.json'; give its whole path"},
    BadSystem{"answer_timeout", "0", "answer_timeout is '0'; give 0.02 to 5 s"},
    BadSystem{"read_timeout", "5", "read_timeout is '5'; give 0.001 to 0.5 s"},
    BadSystem{"read_timeout", "nan", "read_timeout is 'nan'"},
    BadSystem{"return_delay_time", "255", "return_delay_time is '255'"},
    BadSystem{"torque_off_on_deactivate", "yes", "is 'yes'; give true or false"},
    BadSystem{"write_calibration", "1", "is '1'; give true or false"},
    BadSystem{"on_stop", "limp", "on_stop is 'limp'; give hold or torque_off"},
    BadSystem{"answer_time", "0.2", "no such parameter: 'answer_time'; known are: port"}));

struct BadJoint
{
  const char * joint;
  const char * name;
  const char * value;
  const char * message;
};

class BadJointParameter : public ::testing::TestWithParam<BadJoint>
{
};

TEST_P(BadJointParameter, IsNamedWithJointAndValue)
{
  SystemDescription description = arm_description();
  Parameters & parameters = joint(description, GetParam().joint).parameters;
  if (GetParam().value == nullptr) {
    parameters.erase(GetParam().name);
  } else {
    parameters[GetParam().name] = GetParam().value;
  }
  EXPECT_TRUE(lines_mention(
    parse_config(description).errors,
    {{"'" + std::string(GetParam().joint) + "'", GetParam().message}}));
}

INSTANTIATE_TEST_SUITE_P(
  All, BadJointParameter,
  ::testing::Values(
    BadJoint{"elbow_flex", "id", nullptr, "has no id"},
    BadJoint{"elbow_flex", "id", "three", "id is 'three'; give a whole number from 0 to 253"},
    BadJoint{"elbow_flex", "id", "254", "id is '254'"},
    BadJoint{"elbow_flex", "id", "2", "has id 2, and so has 'shoulder_lift'"},
    BadJoint{"elbow_flex", "p_coefficient", "255", "p_coefficient is '255'"},
    BadJoint{"elbow_flex", "p_coefficient", "16.5", "p_coefficient is '16.5'"},
    BadJoint{"elbow_flex", "acceleration", "", "acceleration is ''"},
    BadJoint{"elbow_flex", "max_torque_limit", "1001", "max_torque_limit is '1001'"},
    BadJoint{
      "elbow_flex", "p_cofficient", "16", "no such parameter: 'p_cofficient'; known are: id"},
    BadJoint{"elbow_flex", "open_position", "1", "open_position belongs to the joint gripper"},
    BadJoint{"gripper", "open_position", "-0.174", "closed_position and open_position are equal"},
    BadJoint{
      "gripper", "open_position", "100", "open_position is '100'; give -3.14159 to 3.14159"}));

TEST(SystemConfig, AllMistakesAreNamedAtOnce)
{
  SystemDescription description = arm_description();
  description.parameters["baud"] = "0";
  joint(description, "shoulder_pan").parameters.erase("id");
  joint(description, "gripper").parameters["acceleration"] = "300";
  const ParsedConfig parsed = parse_config(description);
  ASSERT_TRUE(lines_mention(parsed.errors, {{"baud"}, {"'shoulder_pan'"}, {"'gripper'"}}));
  EXPECT_EQ(parsed.text(), parsed.errors[0] + "\n" + parsed.errors[1] + "\n" + parsed.errors[2]);
}

TEST(SystemConfig, StrangeJointIsAskedFor)
{
  SystemDescription description = arm_description();
  joint(description, "elbow_flex").name = "elbow";
  EXPECT_TRUE(lines_mention(
    parse_config(description).errors,
    {{"'elbow': its name is none of LeRobot's", "elbow_flex", "<param name=\"lerobot_name\">"}}));
}

TEST(SystemConfig, JointOfAnyNameIsTheOneThatItSays)
{
  SystemDescription description = arm_description();
  description.parameters["joint_prefix"] = "left_";
  for (JointDescription & joint : description.joints) {
    joint.name = "left_" + joint.name;
  }
  JointDescription & claw = joint(description, "left_gripper");
  claw.name = "claw";
  claw.parameters["lerobot_name"] = "gripper";
  claw.parameters["open_position"] = "1.2";
  const ParsedConfig parsed = parse_config(description);
  ASSERT_EQ(parsed.text(), "");
  const JointConfig & config = parsed.config.joints.back();
  EXPECT_EQ(config.name, "claw");
  EXPECT_EQ(config.motor, "gripper");
  EXPECT_EQ(config.gripper.open, 1.2);
  EXPECT_EQ(config.settings.max_torque_limit.value_or(-1), 500) << "as a gripper needs it";
  EXPECT_EQ(parsed.config.joints.front().motor, "shoulder_pan");
}

TEST(SystemConfig, TwoJointsAreNotTheSameOne)
{
  SystemDescription description = arm_description();
  joint(description, "wrist_roll").parameters["lerobot_name"] = "wrist_flex";
  joint(description, "gripper").parameters["lerobot_name"] = "";
  EXPECT_TRUE(lines_mention(
    parse_config(description).errors,
    {{"'gripper': lerobot_name is empty"},
     {"'wrist_roll': is LeRobot's 'wrist_flex', and so is 'wrist_flex'"}}));
}

TEST(SystemConfig, PrefixMustBeThere)
{
  SystemDescription description = arm_description();
  description.parameters["joint_prefix"] = "left_";
  EXPECT_EQ(parse_config(description).errors.size(), 6u);
}

TEST(SystemConfig, NoJointsIsAnError)
{
  SystemDescription description = arm_description();
  description.joints.clear();
  EXPECT_TRUE(lines_mention(parse_config(description).errors, {{"no joint is named"}}));
}

TEST(SystemConfig, InterfacesAreChecked)
{
  SystemDescription description = arm_description();
  joint(description, "shoulder_pan").command_interfaces = {"velocity"};
  joint(description, "shoulder_lift").command_interfaces = {};
  joint(description, "elbow_flex").state_interfaces = {"position", "torque"};
  joint(description, "wrist_flex").state_interfaces = {"velocity"};
  EXPECT_TRUE(lines_mention(
    parse_config(description).errors, {{"'shoulder_pan': its command interfaces are [velocity]"},
                                       {"'shoulder_lift': its command interfaces are []"},
                                       {"'elbow_flex': no such state interface: 'torque'"},
                                       {"'wrist_flex': the state interface position is missing"}}));
}

// A parameter or interface that the reference page does not list is unknown to users.
TEST(SystemConfig, ReferencePageNamesEverything)
{
  std::ifstream file(SO100_PARAMETER_REFERENCE);
  if (!file) {
    GTEST_SKIP() << "no " << SO100_PARAMETER_REFERENCE << " beside this package";
  }
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (const auto & names : {known(false), known(true), state_interface_names()}) {
    ASSERT_GT(names.size(), 9u);
    for (const std::string & name : names) {
      EXPECT_NE(page.find("| `" + name + "` |"), std::string::npos) << name;
    }
  }
}

}  // namespace
}  // namespace so100_hardware
