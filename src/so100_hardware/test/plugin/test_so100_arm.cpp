// SPDX-License-Identifier: Apache-2.0
// From cable to torque and back, against emulated servos.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "emulated_arm.hpp"

namespace so100_hardware
{
namespace
{

using std::chrono::milliseconds;
using test::EmulatedArm;
using test::lines_mention;
namespace registers = feetech::registers;

constexpr std::size_t kLift = 1;
constexpr std::size_t kElbow = 2;
constexpr std::size_t kGripperJoint = 5;

class So100ArmTest : public test::ArmTest
{
protected:
  void expect_torque(int value)
  {
    for (std::size_t i = 0; i < kJoints.size(); ++i) {
      EXPECT_EQ(world.get(i, registers::torque_enable), value) << kJoints[i].name;
    }
  }
};

TEST_F(So100ArmTest, ConnectOnlyLooks)
{
  const Report report = make().connect();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(report.warnings.empty()) << report.warnings.front();
  EXPECT_TRUE(world.writes.empty());
  EXPECT_FALSE(arm_->active());
  EXPECT_NEAR(arm_->state(kLift).voltage, 12.0, 0.11);
}

TEST_F(So100ArmTest, PortThatCannotBeOpened)
{
  world.plugged = false;
  EXPECT_TRUE(lines_mention(make().connect().errors, {{"/dev/ttyACM0"}}));
  EXPECT_FALSE(arm_->connected());
}

TEST_F(So100ArmTest, CalibrationFileIsMissing)
{
  std::filesystem::remove(world.file());
  EXPECT_TRUE(lines_mention(make().connect().errors, {{world.file()}}));
  EXPECT_EQ(world.opened, 0) << "a mistake in a file needs no port";
}

TEST_F(So100ArmTest, CalibrationOfAnotherArmsIds)
{
  world.calibration.joints[kLift].id = 9;
  std::ofstream(world.file()) << to_json(world.calibration);
  EXPECT_TRUE(lines_mention(make().connect().errors, {{"shoulder_lift (id 2)", "with id 9"}}));
}

TEST_F(So100ArmTest, ACalibrationOverTheEndOfTheEncoderStopsIt)
{
  world.calibration.joints[kElbow].range_min = 9;
  world.calibration.joints[kElbow].range_max = 4088;
  std::ofstream(world.file()) << to_json(world.calibration);
  EXPECT_TRUE(lines_mention(
    make().connect().errors,
    {{world.file(), "'elbow_flex'", "across the end of the encoder", "so100_calibrate"}}));
  EXPECT_EQ(world.opened, 0);
}

TEST_F(So100ArmTest, ARangeOfOneEndOnlyGivesAWarning)
{
  world.calibration.joints[kElbow].range_min = 2040;
  std::ofstream(world.file()) << to_json(world.calibration);
  const Report report = make({{"write_calibration", "true"}}).connect();
  EXPECT_TRUE(report.ok()) << report.text();
  ASSERT_FALSE(report.warnings.empty());
  EXPECT_TRUE(lines_mention(
    {report.warnings.front()}, {{"'elbow_flex'", "only 92 degrees", "turns about 200"}}));
}

// Joints under other names, and more or fewer of them than LeRobot's arm has.
TEST(OtherArms, SevenJointsOfOtherNames)
{
  constexpr std::size_t kCount = 7;
  EmulatedArm world(kCount, "axis_");
  SystemDescription description;
  description.parameters = {{"port", "/dev/ttyACM0"}, {"calibration_file", world.file()}};
  for (std::size_t i = 0; i < kCount; ++i) {
    const JointCalibration & joint = world.calibration.joints[i];
    description.joints.push_back(
      {"J" + std::to_string(i),
       {{"id", std::to_string(joint.id)}, {"lerobot_name", joint.joint}},
       {"position"},
       {"position"}});
  }
  const ParsedConfig parsed = parse_config(description);
  ASSERT_EQ(parsed.text(), "");
  So100Arm arm(parsed.config, world.port());
  ASSERT_EQ(arm.connect().text(), "");
  ASSERT_EQ(arm.activate().text(), "");
  std::vector<double> goals(kCount);
  for (int n = 0; n < 150; ++n) {
    ASSERT_TRUE(arm.read()) << arm.failure();
    for (std::size_t i = 0; i < kCount; ++i) {
      goals[i] = 0.1 + 0.02 * static_cast<double>(i);
    }
    ASSERT_TRUE(arm.write(goals.data())) << arm.failure();
    world.wait(milliseconds(10));
  }
  for (std::size_t i = 0; i < kCount; ++i) {
    EXPECT_NEAR(arm.state(i).position, goals[i], 0.01) << i;
  }
}

TEST_F(So100ArmTest, JointThatTheCalibrationLacksIsNamed)
{
  SystemConfig config = world.config();
  config.joints.back().motor = "claw";
  So100Arm arm(config, world.port());
  EXPECT_TRUE(lines_mention(arm.connect().errors, {{"gripper", "claw"}}));
}

TEST_F(So100ArmTest, Sts3250IsAServoLikeTheOthers)
{
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    world.feetech_set(i, registers::model_number, 2825);
  }
  active();
  EXPECT_TRUE(arm_->read()) << arm_->failure();
}

// Each row of the table reads the register that it names, and each value has one row.
TEST(Telemetry, EveryMeasurementIsThatOfItsRegister)
{
  feetech::BlockReply reply;
  std::map<std::string, double> values;
  for (std::size_t i = 0; i < kMeasurements.size(); ++i) {
    const feetech::Register & reg = kMeasurements[i].reg;
    ASSERT_GE(reg.address, feetech::kStateBlock.address);
    ASSERT_LE(reg.address + reg.size, feetech::kStateBlock.address + feetech::kStateBlock.size);
    feetech::encode(
      reg, static_cast<int>(i) + 7, &reply.data[reg.address - feetech::kStateBlock.address]);
  }
  const JointState state = measure(feetech::to_state(reply), nullptr);
  for (std::size_t i = 0; i < kMeasurements.size(); ++i) {
    const Measurement & one = kMeasurements[i];
    EXPECT_DOUBLE_EQ(state.*one.value, one.si(static_cast<int>(i) + 7)) << one.interface;
    EXPECT_NE(one.si(1), 0.0) << one.interface;
    EXPECT_TRUE(values.emplace(one.interface, state.*one.value).second) << one.interface;
  }
  EXPECT_DOUBLE_EQ(values["voltage"], state.voltage);
  EXPECT_DOUBLE_EQ(values["effort"], state.effort);
}

TEST(Telemetry, ThePositionIsThatOfTheCalibratedJoint)
{
  feetech::BlockReply reply;
  feetech::encode(registers::present_position, 1500, &reply.data[0]);
  feetech::encode(registers::present_velocity, -40, &reply.data[2]);
  const auto joint = JointConversion::gripper({1400, 2400}, 0, {0.5, 1.5});
  const JointState state = measure(feetech::to_state(reply), &*joint);
  EXPECT_NEAR(state.position, 0.6, 1e-9);
  EXPECT_NEAR(state.velocity, -0.04, 1e-9);
}

TEST_F(So100ArmTest, OneServoIsMissing)
{
  world.arm.unit(kLift).connected = false;
  EXPECT_TRUE(lines_mention(make().connect().errors, {{"shoulder_lift (id 2): "}}));
  EXPECT_FALSE(arm_->connected());
}

TEST_F(So100ArmTest, NoServoAnswersIsOneLine)
{
  world.arm.set_supply(0.0);
  EXPECT_TRUE(lines_mention(
    make().connect().errors, {{"no servo answers on /dev/ttyACM0 at 1000000 baud", "so100_scan"}}));
}

TEST_F(So100ArmTest, WrongBaudIsOneLine)
{
  EXPECT_TRUE(lines_mention(make({{"baud", "500000"}}).connect().errors, {{"at 500000 baud"}}));
}

TEST_F(So100ArmTest, DoubledIdIsNamed)
{
  emulator::ServoOptions twin;
  twin.identity.id = 3;
  world.arm.add(twin);
  world.faults.add();
  EXPECT_TRUE(lines_mention(make().connect().errors, {{"elbow_flex (id 3): "}}));
}

TEST_F(So100ArmTest, ExtraServoIsARemark)
{
  emulator::ServoOptions extra;
  extra.identity.id = 7;
  world.arm.add(extra);
  world.faults.add();
  const Report report = make().connect();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(lines_mention(report.warnings, {{"id 7", "belongs to no joint"}}));
}

TEST_F(So100ArmTest, MixedFirmwareIsARemark)
{
  world.feetech_set(kElbow, registers::firmware_minor, 9);
  const Report report = make().connect();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(lines_mention(
    report.warnings, {{"different firmware", "shoulder_lift (id 2) 3.10, elbow_flex (id 3) 3.9"}}));
}

TEST_F(So100ArmTest, AnotherModelIsNamed)
{
  world.feetech_set(kElbow, registers::model_number, 1284);
  EXPECT_TRUE(lines_mention(
    make().connect().errors, {{"elbow_flex (id 3)", "SCS0009", "STS3215 (model 777)"}}));
}

TEST_F(So100ArmTest, SupplyBeyondTheServosLimits)
{
  world.arm.set_supply(5.0);
  EXPECT_EQ(make().connect().errors.size(), 6u);
  EXPECT_TRUE(lines_mention(
    {arm_->connect().errors.front()},
    {{"shoulder_pan (id 1)", "supply 5.0 V, servo minimum 6.0 V"}}));

  world.arm.set_supply(12.0);
  world.wait(milliseconds(5));
  world.feetech_set(kElbow, registers::max_voltage, 84);
  EXPECT_TRUE(lines_mention(
    arm_->connect().errors, {{"elbow_flex (id 3)", "supply 12.0 V, servo maximum 8.4 V"}}));
}

TEST_F(So100ArmTest, CalibrationThatDiffersFromTheServoIsAnError)
{
  world.feetech_set(kElbow, registers::homing_offset, 100);
  EXPECT_TRUE(lines_mention(
    make().connect().errors,
    {{"elbow_flex (id 3)", "homing_offset", "100", "so100_calibrate --from-file"}}));
  EXPECT_EQ(world.get(kElbow, registers::homing_offset), 100);
  EXPECT_TRUE(world.writes.empty());
}

TEST_F(So100ArmTest, CalibrationIsWrittenWhereAllowed)
{
  world.feetech_set(kElbow, registers::homing_offset, 100);
  world.feetech_set(kElbow, registers::torque_enable, 1);
  So100Arm & arm = make({{"write_calibration", "true"}});
  const Report report = arm.connect();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(lines_mention(report.warnings, {{"elbow_flex (id 3)", "was written to the servo"}}));
  EXPECT_EQ(
    world.get(kElbow, registers::homing_offset), world.calibration.joints[kElbow].homing_offset);
  EXPECT_EQ(world.get(kElbow, registers::lock), 1);
  EXPECT_EQ(world.get(kElbow, registers::torque_enable), 0);
}

TEST_F(So100ArmTest, ActivateWritesLeRobotsSettingsAndLocks)
{
  active();
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    const bool gripper = i == kGripperJoint;
    EXPECT_EQ(world.get(i, registers::return_delay), 0);
    EXPECT_EQ(world.get(i, registers::max_acceleration), 254);
    EXPECT_EQ(world.get(i, registers::acceleration), 254);
    EXPECT_EQ(world.get(i, registers::phase) & 0x10, 0);
    EXPECT_EQ(world.get(i, registers::operating_mode), 0);
    EXPECT_EQ(world.get(i, registers::p_coefficient), 16);
    EXPECT_EQ(world.get(i, registers::i_coefficient), 0);
    EXPECT_EQ(world.get(i, registers::d_coefficient), 32);
    EXPECT_EQ(world.get(i, registers::max_torque), gripper ? 500 : 1000);
    EXPECT_EQ(world.get(i, registers::torque_limit), gripper ? 500 : 1000);
    EXPECT_EQ(world.get(i, registers::protection_current), gripper ? 250 : 500);
    EXPECT_EQ(world.get(i, registers::overload_torque), gripper ? 25 : 80);
    EXPECT_EQ(world.get(i, registers::lock), 1);
    EXPECT_EQ(world.servo(i).memory().stored(registers::p_coefficient), 16) << "kept without power";
  }
  expect_torque(1);
}

TEST_F(So100ArmTest, MultiTurnAndOtherModesAreMended)
{
  world.feetech_set(kLift, registers::phase, 12 | 0x10);
  world.feetech_set(kElbow, registers::operating_mode, 1);
  active();
  EXPECT_EQ(world.get(kLift, registers::phase), 12);
  EXPECT_EQ(world.get(kElbow, registers::operating_mode), 0);
}

TEST_F(So100ArmTest, SecondActivationWearsNoEepromAndKeepsTorqueOn)
{
  So100Arm & arm = active({{"torque_off_on_deactivate", "false"}});
  std::vector<unsigned> revisions;
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    revisions.push_back(world.servo(i).memory().revision());
  }
  world.writes.clear();
  EXPECT_EQ(arm.activate().text(), "");
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    EXPECT_EQ(world.servo(i).memory().revision(), revisions[i]);
  }
  // Goal and torque of each servo, nothing else.
  EXPECT_EQ(world.writes.size(), 12u);
  expect_torque(1);
}

TEST_F(So100ArmTest, ALeaderIsLimpFromTheFirstReadingOnAndStaysSo)
{
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    world.feetech_set(i, registers::torque_enable, 1);  // it was an arm before, and killed
  }
  So100Arm & arm = make({{"leader", "true"}});
  ASSERT_EQ(arm.connect().text(), "");
  expect_torque(0);
  EXPECT_TRUE(arm.read());
  EXPECT_NE(arm.activate().text().find("a leader arm is moved by hand"), std::string::npos);
  expect_torque(0);
  EXPECT_TRUE(arm.read());
}

TEST_F(So100ArmTest, OldGoalDoesNotMakeTheArmJump)
{
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    world.feetech_set(i, registers::goal_position, 1000);
  }
  So100Arm & arm = make();
  ASSERT_EQ(arm.connect().text(), "");
  const int before = world.get(kLift, registers::present_position);
  ASSERT_EQ(arm.activate().text(), "");
  world.wait(milliseconds(300));
  EXPECT_NEAR(world.get(kLift, registers::present_position), before, 3);
  EXPECT_NEAR(arm.goal(kLift), arm.state(kLift).position, 1e-9);
}

TEST_F(So100ArmTest, EveryGoalIsWrittenBeforeAnyTorqueIsOn)
{
  active();
  std::size_t last_goal = 0;
  std::size_t first_enable = world.writes.size();
  for (std::size_t i = 0; i < world.writes.size(); ++i) {
    if (world.writes[i].second == registers::goal_position.address) {
      last_goal = i;
    }
  }
  // Before its last goal a servo may be switched off (to write EEPROM), never on.
  for (std::size_t i = world.writes.size() - kJoints.size(); i < world.writes.size(); ++i) {
    EXPECT_EQ(world.writes[i].second, registers::torque_enable.address);
    first_enable = std::min(first_enable, i);
  }
  EXPECT_LT(last_goal, first_enable);
}

TEST_F(So100ArmTest, FailedReadKeepsTheTorqueOff)
{
  So100Arm & arm = make();
  ASSERT_EQ(arm.connect().text(), "");
  world.arm.unit(kElbow).connected = false;
  const Report report = arm.activate();
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.errors.front().find("elbow_flex (id 3)"), std::string::npos) << report.text();
  EXPECT_FALSE(arm.active());
  expect_torque(0);
  world.writes.clear();
  const std::vector<double> goals(6, 0.1);
  EXPECT_TRUE(arm.write(goals.data()));
  EXPECT_TRUE(world.writes.empty()) << "a goal was sent";
}

TEST_F(So100ArmTest, LatchedOverloadIsClearedByActivation)
{
  active({{"torque_off_on_deactivate", "false"}});
  world.servo(kGripperJoint).protection().force_overload();
  world.wait(milliseconds(10));
  ASSERT_TRUE(arm_->read());
  EXPECT_EQ(arm_->state(kGripperJoint).status, feetech::status_bits::overload);
  EXPECT_EQ(arm_->activate().text(), "");
  world.wait(milliseconds(10));
  ASSERT_TRUE(arm_->read());
  EXPECT_EQ(arm_->state(kGripperJoint).status, 0);
  expect_torque(1);
}

TEST_F(So100ArmTest, JointFarOutsideOfItsRangeIsRemarked)
{
  world.servo(kElbow).dynamics().hold(100.0, 1e6);
  world.wait(milliseconds(10));
  So100Arm & arm = make();
  ASSERT_EQ(arm.connect().text(), "");
  const Report report = arm.activate();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(lines_mention(report.warnings, {{"elbow_flex (id 3)", "outside", "900 to 3090"}}));
  EXPECT_GT(arm.goal(kElbow), arm.state(kElbow).position);
}

TEST_F(So100ArmTest, DestructorSwitchesOff)
{
  active();
  arm_.reset();
  expect_torque(0);
}

TEST_F(So100ArmTest, StopWritingHoldsTheArm)
{
  So100Arm & arm = active();
  arm.stop_writing();
  world.writes.clear();
  const std::vector<double> goals(6, 0.1);
  EXPECT_TRUE(arm.write(goals.data()));
  EXPECT_TRUE(world.writes.empty());
  expect_torque(1);
  arm_.reset();
  expect_torque(0);
}

TEST_F(So100ArmTest, TorqueOffReachesTheOthersOfASilentServo)
{
  So100Arm & arm = active();
  world.arm.unit(kElbow).connected = false;
  const Report report = arm.torque_off();
  EXPECT_TRUE(lines_mention(report.errors, {{"elbow_flex (id 3)", "did not confirm"}}));
  for (std::size_t i = 0; i < kJoints.size(); ++i) {
    EXPECT_EQ(world.get(i, registers::torque_enable), i == kElbow ? 1 : 0);
  }
}

TEST_F(So100ArmTest, UnpluggedAndPluggedInAgain)
{
  So100Arm & arm = active();
  world.plugged = false;
  EXPECT_FALSE(arm.read());
  EXPECT_NE(arm.failure().find("/dev/ttyACM0"), std::string::npos) << arm.failure();
  EXPECT_TRUE(lines_mention(arm.disconnect().errors, {{"could not be switched off"}}));
  EXPECT_FALSE(arm.connected());
  EXPECT_FALSE(arm.read());

  EXPECT_FALSE(arm.connect().ok());
  world.plugged = true;
  EXPECT_EQ(arm.connect().text(), "");
  EXPECT_EQ(arm.activate().text(), "");
  EXPECT_TRUE(arm.read());
  expect_torque(1);
}

TEST_F(So100ArmTest, SubsetOfTheJoints)
{
  SystemConfig config = world.config();
  config.joints.erase(config.joints.begin());
  So100Arm arm(config, world.port());
  const Report report = arm.connect();
  EXPECT_EQ(report.text(), "");
  EXPECT_TRUE(lines_mention(report.warnings, {{"id 1", "belongs to no joint"}}));
  EXPECT_EQ(arm.activate().text(), "");
  EXPECT_EQ(world.get(0, registers::torque_enable), 0);
  EXPECT_EQ(world.get(1, registers::torque_enable), 1);
}

}  // namespace
}  // namespace so100_hardware
