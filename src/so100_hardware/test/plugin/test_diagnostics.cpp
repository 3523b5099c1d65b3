// SPDX-License-Identifier: Apache-2.0
// What the state of the arm means, as text.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "allocation_counter.hpp"
#include "emulated_arm.hpp"
#include "so100_hardware/diagnostics.hpp"

namespace so100_hardware
{
namespace
{

using std::chrono::milliseconds;
using test::AllocationCounter;

constexpr std::size_t kPan = 0;
constexpr std::size_t kElbow = 2;
constexpr std::size_t kGripperJoint = 5;

class DiagnosticsTest : public test::ArmTest
{
protected:
  So100Arm & active()
  {
    ArmTest::active();
    recorder.set(*arm_);
    before = recorder.take();
    return *arm_;
  }
  bool cycle()
  {
    const bool good = ArmTest::cycle();
    if (good) {
      recorder.add(*arm_);
    }
    return good;
  }
  void cycles(int count)
  {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(cycle()) << arm_->failure();
    }
  }
  std::vector<Diagnostic> report(const std::string & failure = "")
  {
    return describe(arm_->config(), recorder.take(), before, world.now, failure);
  }
  Diagnostic of(std::size_t joint) { return report()[joint + 1]; }
  static std::string value(const Diagnostic & one, const std::string & key)
  {
    const auto found = std::find_if(
      one.values.begin(), one.values.end(), [&key](const auto & v) { return v.first == key; });
    return found == one.values.end() ? "(none)" : found->second;
  }

  ArmRecorder recorder{6};
  ArmRecord before;
};

::testing::AssertionResult reports(
  const Diagnostic & one, Level level, const std::vector<std::string> & parts)
{
  const auto mentioned = test::lines_mention({one.message}, {parts});
  if (one.level == level && mentioned) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure()
         << one.subject << ", level " << static_cast<int>(one.level) << ": " << one.message;
}

TEST_F(DiagnosticsTest, AHealthyArmIsOk)
{
  active();
  cycles(200);
  const std::vector<Diagnostic> all = report();
  ASSERT_EQ(all.size(), 7u);
  EXPECT_EQ(all[0].subject, "bus");
  EXPECT_TRUE(reports(all[0], Level::ok, {"6 servos answer, 10", " reads/s, torque on"}));
  EXPECT_NEAR(std::stod(value(all[0], "read_rate")), 100.0, 8.0);
  EXPECT_EQ(value(all[0], "port"), "/dev/ttyACM0");
  EXPECT_EQ(value(all[0], "cycles"), "200");
  for (std::size_t i = 0; i < 6; ++i) {
    const Diagnostic & servo = all[i + 1];
    EXPECT_EQ(servo.subject, kJoints[i].name);
    EXPECT_TRUE(reports(servo, Level::ok, {" V, 25 °C, "}));
    EXPECT_EQ(value(servo, "torque"), "on");
    EXPECT_EQ(value(servo, "faults"), "none");
    EXPECT_EQ(value(servo, "missed_reads"), "0");
    EXPECT_EQ(value(servo, "voltage_min"), "6.0");
    EXPECT_EQ(value(servo, "temperature_max"), "70");
  }
  EXPECT_EQ(value(all[kGripperJoint + 1], "load_max"), "0.250") << "what activate() sets";
  ASSERT_EQ(arm_->torque_off().text(), "");
  recorder.set(*arm_);
  EXPECT_TRUE(reports(report()[0], Level::ok, {"torque off"}));
}

TEST_F(DiagnosticsTest, ASupplyThatBreaksDownForAMomentIsSeen)
{
  active();
  cycles(5);
  world.arm.set_supply(9.1);
  cycles(3);
  world.arm.set_supply(12.0);
  cycles(40);
  const Diagnostic servo = of(kElbow);
  EXPECT_TRUE(reports(servo, Level::warn, {"falls from 12.0 V to 9.", "stronger power supply"}));
  EXPECT_GT(std::stod(value(servo, "voltage")), 11.5) << "by now it is well again";
  cycles(20);
  EXPECT_TRUE(reports(of(kElbow), Level::ok, {})) << "it is over";
}

TEST_F(DiagnosticsTest, ASupplyBeyondTheServosLimitsIsAnError)
{
  active();
  world.arm.set_supply(5.2);
  cycles(30);
  for (std::size_t i = 0; i < 6; ++i) {
    const Diagnostic servo = of(i);
    recorder.set(*arm_);
    EXPECT_TRUE(reports(
      servo, Level::error, {"supply 5.", "servo minimum 6.0 V: check the power supply, its plug"}));
    EXPECT_EQ(servo.message.find("reports"), std::string::npos)
      << "mentioned once, with the numbers";
  }
  world.arm.set_supply(15.3);
  cycles(5);
  recorder.take();
  cycles(5);
  EXPECT_TRUE(reports(of(kPan), Level::error, {"supply 15.", "servo maximum 14.0 V"}));
}

TEST_F(DiagnosticsTest, TemperatureWarnsBeforeTheServoLetsGo)
{
  active();
  world.servo(kElbow).set_temperature(63.4);
  cycles(3);
  EXPECT_TRUE(reports(of(kElbow), Level::warn, {"63 °C, servo maximum 70 °C: let it cool down"}));
  cycles(1);
  EXPECT_TRUE(reports(of(kPan), Level::ok, {}));
  world.servo(kElbow).set_temperature(74.2);
  cycles(3);
  const Diagnostic hot = of(kElbow);
  EXPECT_TRUE(reports(hot, Level::error, {"74 °C, servo maximum 70 °C"}));
  EXPECT_EQ(value(hot, "faults"), "overheat");
}

TEST_F(DiagnosticsTest, FaultsAreSaidInWordsWithTheRemedy)
{
  active();
  world.servo(kGripperJoint).protection().force_overload();
  cycles(3);
  EXPECT_TRUE(reports(
    of(kGripperJoint), Level::error,
    {"reports overload: free the joint, then switch the power off and on"}));
}

TEST_F(DiagnosticsTest, AJointThatPushesAgainstSomethingIsNamedBeforeItsProtectionActs)
{
  active();
  world.servo(kGripperJoint).dynamics().hold(world.servo(kGripperJoint).dynamics().position(), 1e6);
  goals[kGripperJoint] += 1.0;
  cycles(20);
  recorder.take();
  cycles(30);
  EXPECT_TRUE(
    reports(of(kGripperJoint), Level::warn, {"protection acts from 25 % on: free the joint"}));
  EXPECT_TRUE(reports(report()[kElbow + 1], Level::ok, {}));
}

TEST_F(DiagnosticsTest, AMotionIsNoPush)
{
  active();
  goals[kGripperJoint] += 1.2;
  recorder.take();
  cycles(8);
  const Diagnostic moving = of(kGripperJoint);
  EXPECT_GT(std::stod(value(moving, "load")), 0.25) << "more than a standing gripper may push";
  EXPECT_TRUE(reports(moving, Level::ok, {}));
}

TEST_F(DiagnosticsTest, MissedReadsAreCountedLatelyAndInAll)
{
  active();
  world.faults.rates(kPan).drop = 0.3;
  cycles(300);
  const Diagnostic bad = of(kPan);
  EXPECT_TRUE(reports(bad, Level::warn, {"of 300 reads in the last", "check its cable"}));
  recorder.set(*arm_);
  EXPECT_TRUE(reports(of(kElbow), Level::ok, {}));
  const auto missed = arm_->counters(kPan).missed_reads;
  EXPECT_EQ(value(bad, "missed_reads_lately"), std::to_string(missed));
  world.faults.rates(kPan).drop = 0.0;
  before = recorder.take();
  cycles(100);
  const Diagnostic well = of(kPan);
  EXPECT_TRUE(reports(well, Level::ok, {}));
  EXPECT_EQ(value(well, "missed_reads_lately"), "0");
  EXPECT_EQ(value(well, "missed_reads"), std::to_string(missed));
}

TEST_F(DiagnosticsTest, WhatAllMissIsSaidOnceOfTheBus)
{
  active();
  for (int i = 0; i < 40; ++i) {
    for (std::size_t k = 0; k < 6; ++k) {
      world.arm.unit(k).connected = i % 8 != 0;
    }
    cycles(1);
  }
  const std::vector<Diagnostic> all = report();
  EXPECT_TRUE(reports(all[0], Level::warn, {"no servo answered 5 of 40 reads", "the USB cable"}));
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(reports(all[i + 1], Level::ok, {}));
    EXPECT_EQ(value(all[i + 1], "missed_reads_lately"), "5");
  }
}

TEST_F(DiagnosticsTest, CommandsThatAreNoNumbersAreToldLately)
{
  active();
  goals[kElbow] = std::numeric_limits<double>::quiet_NaN();
  cycles(4);
  EXPECT_TRUE(reports(of(kElbow), Level::warn, {"4 commands in the last", "no numbers"}));
}

TEST_F(DiagnosticsTest, AnswersThatComeTooLateBlameTheMachine)
{
  active();
  for (std::size_t i = 0; i < 6; ++i) {
    world.faults.rates(i).delay = 1.0;
    world.faults.rates(i).delay_time = milliseconds(3);
  }
  cycles(60);
  EXPECT_TRUE(reports(report()[0], Level::warn, {"came too late for", "the machine is too busy"}));
}

TEST_F(DiagnosticsTest, AFailureStaysWithItsReasonAndOldValuesDoNot)
{
  active();
  cycles(5);
  world.plugged = false;
  EXPECT_FALSE(cycle());
  const std::string reason = arm_->failure();
  arm_->disconnect();
  recorder.set(*arm_);
  world.wait(std::chrono::seconds(100));
  const std::vector<Diagnostic> all = report(reason);
  EXPECT_TRUE(reports(all[0], Level::error, {"/dev/ttyACM0 is gone; plug the USB cable in again"}));
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(reports(all[i + 1], Level::stale, {"not connected"}));
    EXPECT_EQ(value(all[i + 1], "voltage"), "(none)");
  }
  world.plugged = true;
  ASSERT_EQ(arm_->connect().text(), "");
  recorder.set(*arm_);
  EXPECT_TRUE(reports(report()[0], Level::ok, {"torque on"})) << "nobody could switch it off";
}

TEST_F(DiagnosticsTest, BeforeConnectingItSaysSo)
{
  make();
  recorder.set(*arm_);
  before = recorder.take();
  EXPECT_TRUE(reports(report()[0], Level::warn, {"not connected: configure and activate"}));
  EXPECT_TRUE(reports(of(kPan), Level::stale, {"not connected"}));
}

TEST_F(DiagnosticsTest, AControlLoopThatStandsStillIsAnError)
{
  active();
  cycles(50);
  world.wait(milliseconds(2600));
  EXPECT_TRUE(
    reports(report()[0], Level::error, {"no read for 3 s: the control loop stands still"}));
}

TEST_F(DiagnosticsTest, RecordingAllocatesNothing)
{
  active();
  recorder.take();
  AllocationCounter::count = 0;
  AllocationCounter::watching = true;
  for (int i = 0; i < 50; ++i) {
    recorder.add(*arm_);
  }
  AllocationCounter::watching = false;
  EXPECT_EQ(AllocationCounter::count, 0u);
}

TEST(RecoveryCommands, NameComponentAndManager)
{
  EXPECT_EQ(
    recovery_commands("so100", "/"),
    "ros2 control set_hardware_component_state so100 active && ros2 control switch_controllers "
    "--activate joint_state_broadcaster arm_controller");
  EXPECT_EQ(
    recovery_commands("blue", "/cell/left"),
    "ros2 control set_hardware_component_state -c /cell/left/controller_manager blue active && "
    "ros2 control switch_controllers -c /cell/left/controller_manager --activate "
    "joint_state_broadcaster arm_controller");
}

}  // namespace
}  // namespace so100_hardware
