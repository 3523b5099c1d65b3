// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "so100_hardware/calibration.hpp"

namespace so100_hardware
{
namespace
{

// Written by LeRobot 0.4.4 itself.
std::string lerobot_text()
{
  std::ifstream stream(SO100_TEST_DATA "/lerobot_calibration.json", std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

Calibration arm()
{
  return {{
    {"shoulder_pan", 1, 0, -1005, 755, 3327},
    {"shoulder_lift", 2, 0, 981, 823, 3082},
    {"elbow_flex", 3, 0, -2047, 861, 3066},
    {"wrist_flex", 4, 0, 0, 852, 3204},
    {"wrist_roll", 5, 0, 2047, 0, 4095},
    {"gripper", 6, 1, 1324, 2034, 3486},
  }};
}

JointCalibration & joint(Calibration & calibration, const std::string & name)
{
  return const_cast<JointCalibration &>(*calibration.find(name));
}

// The one problem of a text, its name in front, or all of them if there are more.
std::string problem(const std::string & text)
{
  const LoadedCalibration loaded = parse_calibration(text, "arm.json");
  std::string lines;
  for (const std::string & line : loaded.problems) {
    lines += (lines.empty() ? "" : "\n") + line;
  }
  return lines;
}

std::string problem(const Calibration & calibration) { return problem(to_json(calibration)); }

testing::AssertionResult contains(const std::string & text, const std::string & part)
{
  return text.find(part) != std::string::npos
           ? testing::AssertionSuccess()
           : testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

std::string replaced(std::string text, const std::string & from, const std::string & to)
{
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(Json, ReadsWhatLeRobotWrote)
{
  const LoadedCalibration loaded = parse_calibration(lerobot_text(), "arm.json");
  ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
  EXPECT_EQ(loaded.calibration, arm());
  EXPECT_TRUE(loaded.notes.empty());
}

TEST(Json, WritesTheBytesThatLeRobotWrites) { EXPECT_EQ(to_json(arm()), lerobot_text()); }

TEST(Json, KeepsTheOrderOfTheFile)
{
  Calibration calibration = arm();
  std::swap(calibration.joints[0], calibration.joints[5]);
  const LoadedCalibration loaded = parse_calibration(to_json(calibration), "arm.json");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(to_json(loaded.calibration), to_json(calibration));
}

TEST(Json, SaysWhereItBreaks)
{
  std::string text = lerobot_text();
  EXPECT_EQ(
    problem(replaced(text, "\"drive_mode\": 0,\n", "\"drive_mode\": 0\n")),
    "arm.json: not JSON, see line 5; restore the file from its .bak or calibrate again");
  EXPECT_EQ(
    problem(""),
    "arm.json: not JSON, see line 1; restore the file from its .bak or calibrate again");
  EXPECT_TRUE(contains(problem(text.substr(0, text.size() / 2)), "not JSON, see line "));
  EXPECT_TRUE(contains(problem(std::string(3, '\0')), "not JSON"));
  EXPECT_EQ(problem("[1, 2]"), "arm.json: must be an object with a joint each, but is [1,2]");
  EXPECT_EQ(
    problem(replaced(text, "\"drive_mode\": 0,\n", "\"drive_mode\": 1e999,\n")),
    "arm.json: holds a number far out of range; restore the file from its .bak or calibrate again");
}

TEST(Json, NamesJointAndKeyOfAWrongType)
{
  const std::string text = lerobot_text();
  EXPECT_EQ(
    problem(replaced(text, "\"range_min\": 823", "\"range_min\": 823.5")),
    "arm.json: joint 'shoulder_lift': 'range_min' must be a whole number, but is 823.5");
  EXPECT_EQ(
    problem(replaced(text, "\"homing_offset\": 0", "\"homing_offset\": \"0\"")),
    "arm.json: joint 'wrist_flex': 'homing_offset' must be a whole number, but is \"0\"");
  EXPECT_EQ(
    problem(replaced(text, "\"id\": 3", "\"id\": null")),
    "arm.json: joint 'elbow_flex': 'id' must be a whole number, but is null");
  EXPECT_EQ(
    problem(replaced(text, "\"id\": 3", "\"id\": true")),
    "arm.json: joint 'elbow_flex': 'id' must be a whole number, but is true");
  for (const char * number :
       {"18446744073709551615", "9223372036854775808", "-9223372036854775808", "4294967299"}) {
    EXPECT_EQ(
      problem(replaced(text, "\"id\": 3", std::string("\"id\": ") + number)),
      std::string("arm.json: joint 'elbow_flex': 'id' is ") + number + ", far out of range");
  }
  EXPECT_EQ(
    problem(replaced(text, "\"range_min\": 2034,", "")),
    "arm.json: joint 'gripper': the key 'range_min' is missing");
  EXPECT_EQ(
    problem(replaced(text, "\"id\": 3", "\"id\": 3, \"speed\": 1")),
    "arm.json: joint 'elbow_flex': unknown key 'speed'; LeRobot would refuse this file");
  EXPECT_EQ(
    problem(R"({"gripper": 7})"),
    "arm.json: joint 'gripper': must be an object with id, drive_mode, homing_offset, range_min "
    "and range_max, but is 7");
}

TEST(Json, DoubledJointIsNotSilentlyTheLast)
{
  EXPECT_EQ(
    problem(replaced(lerobot_text(), "\"elbow_flex\"", "\"gripper\"")),
    "arm.json: joint 'gripper': is there twice");
}

TEST(Check, MissingAndExtraJoints)
{
  Calibration calibration = arm();
  calibration.joints.erase(calibration.joints.begin() + 1, calibration.joints.begin() + 3);
  EXPECT_EQ(
    problem(calibration),
    "arm.json: without shoulder_lift, elbow_flex; is this the calibration of another kind of "
    "robot?");
  calibration = arm();
  calibration.joints.push_back({"base_left", 7, 0, 0, 0, 4095});
  EXPECT_EQ(
    problem(calibration),
    "arm.json: the joints are shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, "
    "gripper, base_left, but the arm's are shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, "
    "wrist_roll, gripper; is this the calibration of another kind of robot?");
  EXPECT_TRUE(calibration_problems({{{"a", 1, 0, 0, 0, 9}}}, {"a"}).empty());
}

TEST(Check, Ids)
{
  Calibration calibration = arm();
  joint(calibration, "gripper").id = 5;
  EXPECT_EQ(
    problem(calibration),
    "arm.json: joint 'gripper': id 5 is that of 'wrist_roll' too; every servo needs an id of its "
    "own");
  joint(calibration, "gripper").id = 254;
  EXPECT_EQ(problem(calibration), "arm.json: joint 'gripper': id is 254, but ids are 0 to 253");
  joint(calibration, "gripper").id = -1;
  EXPECT_EQ(problem(calibration), "arm.json: joint 'gripper': id is -1, but ids are 0 to 253");
}

TEST(Check, Ranges)
{
  for (const auto & [low, high] : {std::pair(3066, 861), std::pair(900, 900)}) {
    Calibration calibration = arm();
    joint(calibration, "elbow_flex").range_min = low;
    joint(calibration, "elbow_flex").range_max = high;
    EXPECT_EQ(
      problem(calibration), "arm.json: joint 'elbow_flex': range_min " + std::to_string(low) +
                              " is not below range_max " + std::to_string(high) +
                              "; calibrate again and move this joint to both of its ends");
  }
  Calibration calibration = arm();
  joint(calibration, "elbow_flex").range_min = 2000;
  joint(calibration, "elbow_flex").range_max = 4096;
  EXPECT_EQ(
    problem(calibration),
    "arm.json: joint 'elbow_flex': range_max is 4096, but positions are 0 to 4095; calibrate again "
    "(so100_calibrate)");
  calibration = arm();
  joint(calibration, "elbow_flex").range_min = -1;
  EXPECT_TRUE(contains(problem(calibration), "range_min is -1, but positions are 0 to 4095"));
}

TEST(Check, OffsetAndDriveMode)
{
  for (const int offset : {2048, -2048}) {
    Calibration calibration = arm();
    joint(calibration, "wrist_roll").homing_offset = offset;
    EXPECT_EQ(
      problem(calibration),
      "arm.json: joint 'wrist_roll': homing_offset is " + std::to_string(offset) +
        ", but the servo holds -2047 to 2047; calibrate again with the joint in the middle of its "
        "range (so100_calibrate)");
  }
  Calibration calibration = arm();
  joint(calibration, "gripper").drive_mode = 2;
  EXPECT_EQ(problem(calibration), "arm.json: joint 'gripper': drive_mode is 2, but must be 0 or 1");
}

TEST(Check, EveryProblemIsNamedAtOnce)
{
  Calibration calibration = arm();
  joint(calibration, "gripper").drive_mode = 2;
  joint(calibration, "wrist_flex").range_min = 4000;
  EXPECT_EQ(parse_calibration(to_json(calibration), "x").problems.size(), 2U);
}

TEST(Check, ARangeOverTheEndOfTheEncoder)
{
  for (const auto & [name, low, high] :
       {std::tuple("shoulder_pan", 0, 4095), std::tuple("elbow_flex", 12, 4080),
        std::tuple("wrist_flex", 400, 3500), std::tuple("gripper", 3, 4001)}) {
    Calibration calibration = arm();
    joint(calibration, name).range_min = low;
    joint(calibration, name).range_max = high;
    const std::string text = problem(calibration);
    EXPECT_TRUE(contains(text, std::string("arm.json: joint '") + name + "': the range is "));
    EXPECT_TRUE(contains(text, "moved across the end of the encoder"));
    EXPECT_TRUE(contains(text, "calibrate again (so100_calibrate)"));
  }
}

TEST(Check, WristRollMayHaveTheFullTurnOrAMeasuredRange)
{
  for (const auto & [low, high] : {std::pair(0, 4095), std::pair(95, 4020), std::pair(300, 3700)}) {
    Calibration calibration = arm();
    joint(calibration, "wrist_roll").range_min = low;
    joint(calibration, "wrist_roll").range_max = high;
    const LoadedCalibration loaded = parse_calibration(to_json(calibration), "x");
    EXPECT_TRUE(loaded.ok());
    EXPECT_TRUE(loaded.notes.empty()) << loaded.notes.front();
  }
}

TEST(Formats, KnownOnesAreNamedInOneLine)
{
  EXPECT_TRUE(contains(
    problem(R"({"homing_offset": [1], "drive_mode": [0], "motor_names": ["gripper"]})"),
    "arm.json: is a calibration of LeRobot before June 2025"));
  const auto prefixed = [](const std::vector<std::string> & prefixes) {
    Calibration calibration;
    for (const std::string & prefix : prefixes) {
      for (JointCalibration joint : arm().joints) {
        joint.joint.insert(0, prefix);
        calibration.joints.push_back(joint);
      }
    }
    return calibration;
  };
  Calibration kiwi = prefixed({"arm_"});
  kiwi.joints.push_back({"base_left_wheel", 7, 0, 0, 0, 4095});
  EXPECT_TRUE(contains(problem(kiwi), "arm.json: is the calibration of a LeKiwi"));
  const std::string two = problem(prefixed({"left_", "right_"}));
  EXPECT_TRUE(contains(two, "arm.json: holds joints with the prefix left_ right_, "));
  EXPECT_TRUE(contains(two, "write arm_left.json arm_right.json and give"));
  for (const std::string & text : {problem(kiwi), two}) {
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

TEST(Notes, OddButUsable)
{
  Calibration calibration = arm();
  joint(calibration, "wrist_roll").range_min = 2047;
  joint(calibration, "shoulder_pan").range_max = 800;
  joint(calibration, "shoulder_lift").range_max = 2047;
  joint(calibration, "elbow_flex").drive_mode = 1;
  joint(calibration, "gripper").id = 9;
  const LoadedCalibration loaded = parse_calibration(to_json(calibration), "x");
  ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
  ASSERT_EQ(loaded.notes.size(), 5U);
  EXPECT_TRUE(contains(loaded.notes[0], "'shoulder_pan': the range is only 4 degrees"));
  EXPECT_TRUE(contains(
    loaded.notes[1],
    "'shoulder_lift': the range is only 108 degrees wide, but an SO-100's shoulder_lift turns "
    "about 200"));
  EXPECT_TRUE(contains(loaded.notes[2], "'elbow_flex': drive_mode 1"));
  EXPECT_TRUE(contains(loaded.notes[3], "'wrist_roll': the range is only 180 degrees"));
  EXPECT_TRUE(contains(loaded.notes[4], "'gripper': id is 9, LeRobot gives it 6"));
}

}  // namespace
}  // namespace so100_hardware
