// SPDX-License-Identifier: Apache-2.0
// The stop: what the servos do, who confirms it, and that nothing jumps after it.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "allocation_counter.hpp"
#include "emulated_arm.hpp"
#include "so100_hardware/diagnostics.hpp"

namespace so100_hardware
{
namespace
{

using std::chrono::milliseconds;
using test::AllocationCounter;
namespace registers = feetech::registers;

constexpr std::size_t kLift = 1;
constexpr std::size_t kElbow = 2;
constexpr std::size_t kGripperJoint = 5;

const Parameters kTorqueOff{{"on_stop", "torque_off"}};

class StopTest : public test::ArmTest
{
protected:
  /// Active, and on the way to a goal far away.
  So100Arm & moving(const Parameters & parameters = {})
  {
    active(parameters);
    for (double & goal : goals) {
      goal += 0.5;
    }
    cycles(10);
    EXPECT_GT(std::abs(world.get(kElbow, registers::present_velocity)), 0) << "it moves";
    return *arm_;
  }
  void cycles(int count)
  {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(cycle()) << arm_->failure();
    }
  }
  int present(std::size_t joint) { return world.get(joint, registers::present_position); }
  int goal_of(std::size_t joint) { return world.get(joint, registers::goal_position); }
  int torque_of(std::size_t joint) { return world.get(joint, registers::torque_enable); }
  StopOutcome outcome()
  {
    recorder_.set(*arm_);
    return describe_stop(arm_->config(), recorder_.take(), arm_->failure());
  }
  /// The goals begin where the arm is, as those of an approach do.
  void begin_here(double offset = 0.0)
  {
    for (std::size_t i = 0; i < goals.size(); ++i) {
      goals[i] = arm_->state(i).position + offset;
    }
  }

private:
  ArmRecorder recorder_{6};
};

TEST_F(StopTest, AllServosHoldInTheNextCycleAndConfirmIt)
{
  So100Arm & arm = moving();
  std::array<int, 6> before{};
  for (std::size_t i = 0; i < 6; ++i) {
    before[i] = present(i);
  }
  arm.stop();
  EXPECT_FALSE(outcome().confirmed);
  ASSERT_TRUE(cycle());
  EXPECT_TRUE(outcome().confirmed);
  EXPECT_EQ(outcome().text, "all 6 servos answered and hold");
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(goal_of(i), before[i], 40) << "where it was, not the goal half a radian away";
    EXPECT_EQ(torque_of(i), 1);
  }
  const int held = goal_of(kElbow);
  goals[kElbow] -= 1.0;
  cycles(100);
  EXPECT_EQ(goal_of(kElbow), held) << "commands are left out, and the goal does not creep";
  EXPECT_EQ(arm.stop_phase(), StopPhase::latched);
  arm.stop();  // once more changes nothing
  cycles(1);
  EXPECT_EQ(goal_of(kElbow), held);
}

TEST_F(StopTest, NoGoalGoesOutAfterTheOrder)
{
  So100Arm & arm = moving();
  ASSERT_TRUE(arm.read());
  const int last = goal_of(kLift);
  arm.stop();
  goals[kLift] += 0.4;
  ASSERT_TRUE(arm.write(goals.data()));
  EXPECT_EQ(goal_of(kLift), last);
}

TEST_F(StopTest, TorqueGoesOffWhereTheParameterSaysSo)
{
  So100Arm & arm = moving(kTorqueOff);
  arm.stop();
  ASSERT_TRUE(cycle());
  EXPECT_TRUE(outcome().confirmed);
  EXPECT_EQ(outcome().text, "all 6 servos answered: their torque is off");
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(torque_of(i), 0);
    EXPECT_FALSE(arm.torque(i));
  }
  cycles(50);
}

TEST_F(StopTest, ASilentServoIsNamedAndAskedUntilItAnswers)
{
  for (const Parameters & parameters : {Parameters(), kTorqueOff}) {
    So100Arm & arm = moving(parameters);
    world.arm.unit(kElbow).connected = false;
    arm.stop();
    // Far longer than answer_timeout: giving up would let go of the others.
    cycles(100);
    EXPECT_EQ(outcome().text, "elbow_flex (id 3) did not answer; cut the power");
    for (const std::size_t joint : {std::size_t{0}, kLift, std::size_t{3}, kGripperJoint}) {
      EXPECT_EQ(torque_of(joint), parameters.empty() ? 1 : 0);
      EXPECT_NEAR(goal_of(joint), present(joint), parameters.empty() ? 60 : 4096);
    }
    EXPECT_EQ(torque_of(kElbow), 1);
    arm.reset_stop();
    cycles(1);
    EXPECT_EQ(arm.stop_refusals(), 1u);
    EXPECT_EQ(outcome().text, "elbow_flex (id 3) did not answer; cut the power");
    EXPECT_EQ(arm.stop_phase(), StopPhase::latched);

    world.arm.unit(kElbow).connected = true;
    cycles(2);
    EXPECT_TRUE(outcome().confirmed) << outcome().text;
    EXPECT_EQ(torque_of(kElbow), parameters.empty() ? 1 : 0);
    arm.reset_stop();
    cycles(1);
    EXPECT_EQ(arm.stop_phase(), StopPhase::released);
    ASSERT_EQ(arm.disconnect().text(), "");
  }
}

TEST_F(StopTest, AServoThatFallsSilentAfterItsConfirmationIsNamed)
{
  So100Arm & arm = moving();
  arm.stop();
  cycles(3);
  ASSERT_TRUE(outcome().confirmed);
  world.arm.unit(kElbow).connected = false;
  cycles(1);
  EXPECT_TRUE(outcome().confirmed) << "one lost answer says nothing";
  cycles(3);
  EXPECT_EQ(outcome().text, "elbow_flex (id 3) did not answer; cut the power");
}

TEST_F(StopTest, DamagedAnswersAreNoConfirmation)
{
  So100Arm & arm = moving();
  world.faults.rates(kGripperJoint).bad_checksum = 1.0;
  arm.stop();
  cycles(20);
  EXPECT_FALSE(outcome().confirmed);
  EXPECT_EQ(outcome().text.find("gripper (id 6) did not confirm it: servo 6"), 0u)
    << outcome().text;
  EXPECT_NE(outcome().text.find("cut the power"), std::string::npos);
  world.faults.clear_rates();
  cycles(1);
  EXPECT_TRUE(outcome().confirmed);
}

TEST_F(StopTest, ServosStopOnABusThatLosesAndDamagesManyAnswers)
{
  for (const Parameters & parameters : {Parameters(), kTorqueOff}) {
    So100Arm & arm = moving(parameters);
    for (std::size_t i = 0; i < 6; ++i) {
      world.faults.rates(i).drop = 0.3;
      world.faults.rates(i).corrupt = 0.2;
    }
    arm.stop();
    int asked = 0;
    for (; !outcome().confirmed && asked < 200; ++asked) {
      ASSERT_TRUE(cycle());
    }
    EXPECT_LT(asked, 100);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(torque_of(i), parameters.empty() ? 1 : 0);
    }
    world.faults.clear_rates();
    ASSERT_EQ(arm.disconnect().text(), "");
  }
}

TEST_F(StopTest, WithTheCableOutEveryServoIsNamed)
{
  So100Arm & arm = moving();
  world.plugged = false;
  arm.stop();
  EXPECT_FALSE(cycle()) << "nothing can be held on a port that is gone";
  const std::string failure = arm.failure();
  arm.disconnect();
  const StopOutcome stopped = outcome();
  EXPECT_FALSE(stopped.confirmed);
  for (const JointInfo & joint : kJoints) {
    EXPECT_NE(stopped.text.find(std::string(joint.name)), std::string::npos) << stopped.text;
  }
  EXPECT_NE(stopped.text.find("cut the power"), std::string::npos);
  EXPECT_NE(failure.find("is gone"), std::string::npos);

  // The latch outlives the connection: back again, the arm holds and follows nobody.
  world.plugged = true;
  ASSERT_EQ(arm.connect().text(), "");
  ASSERT_EQ(arm.activate().text(), "");
  const int held = goal_of(kElbow);
  begin_here(0.3);
  cycles(5);
  EXPECT_NEAR(goal_of(kElbow), held, 20);
  EXPECT_EQ(outcome().text, "all 6 servos answered and hold");
}

TEST_F(StopTest, ActivationLeavesTheTorqueOffWhileStopped)
{
  So100Arm & arm = make(kTorqueOff);
  arm.stop();
  ASSERT_EQ(arm.connect().text(), "");
  ASSERT_EQ(arm.activate().text(), "");
  cycles(3);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(torque_of(i), 0);
  }
  arm.reset_stop();
  cycles(1);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(torque_of(i), 1);
    EXPECT_NEAR(goal_of(i), present(i), 20);
  }
}

TEST_F(StopTest, AnArmWithoutTorqueConfirmsAndTheResetDoesNotSwitchItOn)
{
  So100Arm & arm = make();
  ASSERT_EQ(arm.connect().text(), "");
  arm.stop();
  cycles(1);
  EXPECT_EQ(outcome().text, "all 6 servos answered: their torque is off");
  arm.reset_stop();
  cycles(1);
  EXPECT_EQ(arm.stop_phase(), StopPhase::none);
  EXPECT_EQ(torque_of(kElbow), 0);
}

TEST_F(StopTest, AfterTheResetTheOldCommandIsLeftOutUntilOneBeginsWhereTheArmIs)
{
  for (const Parameters & parameters : {Parameters(), kTorqueOff}) {
    So100Arm & arm = moving(parameters);
    arm.stop();
    cycles(50);
    if (!parameters.empty()) {  // somebody moves the limp arm
      world.servo(kElbow).dynamics().hold(2500.0, 1e9);
      cycles(5);
      world.servo(kElbow).dynamics().release();
    }
    const int rest = present(kElbow);
    arm.reset_stop();
    cycles(50);  // in which a controller repeats its last command
    EXPECT_EQ(arm.stop_phase(), StopPhase::released);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(torque_of(i), 1);
      EXPECT_NEAR(goal_of(i), present(i), 20) << kJoints[i].name;
    }
    EXPECT_NEAR(present(kElbow), rest, 20) << "no jump";
    EXPECT_GT(arm.goal_distance(kElbow), 0.1);

    begin_here();
    goals[kLift] = std::numeric_limits<double>::quiet_NaN();
    cycles(1);
    EXPECT_EQ(arm.stop_phase(), StopPhase::released) << "no number is near to nothing";
    begin_here();
    cycles(1);
    EXPECT_EQ(arm.stop_phase(), StopPhase::none);
    goals[kElbow] += 0.3;
    cycles(100);
    EXPECT_NEAR(arm.state(kElbow).position, goals[kElbow], 0.05) << "it follows again";
    ASSERT_EQ(arm.disconnect().text(), "");
  }
}

TEST_F(StopTest, AnOldCommandNearbyIsLeftOutToo)
{
  So100Arm & arm = active();
  cycles(5);
  goals[kElbow] += 0.08;  // the last command before the stop
  cycles(1);
  arm.stop();
  cycles(20);
  const int held = goal_of(kElbow);
  arm.reset_stop();
  cycles(20);
  EXPECT_EQ(goal_of(kElbow), held);
}

TEST_F(StopTest, AServoThatWasWithoutPowerIsSaidToBeLimpAndTheResetMakesItHold)
{
  So100Arm & arm = moving();
  arm.stop();
  cycles(3);
  world.arm.set_supply(1.5);
  cycles(3);
  world.arm.set_supply(12.0);
  cycles(10);
  EXPECT_TRUE(outcome().confirmed) << outcome().text;
  EXPECT_NE(outcome().text.find("without torque: shoulder_pan (id 1)"), std::string::npos)
    << outcome().text;
  arm.reset_stop();
  cycles(3);
  EXPECT_EQ(arm.stop_phase(), StopPhase::released);
  EXPECT_EQ(torque_of(kElbow), 1);
}

TEST_F(StopTest, AStopWinsOverAResetOfTheSameCycle)
{
  So100Arm & arm = moving();
  arm.stop();
  cycles(2);
  arm.reset_stop();
  arm.stop();
  cycles(2);
  EXPECT_EQ(arm.stop_phase(), StopPhase::latched);
  EXPECT_TRUE(outcome().confirmed);
}

TEST_F(StopTest, AResetReleasesAStopThatNobodyHasSeenYet)
{
  So100Arm & arm = make();
  arm.stop();
  arm.reset_stop();
  ASSERT_EQ(arm.connect().text(), "");
  EXPECT_EQ(arm.stop_phase(), StopPhase::none);
}

TEST_F(StopTest, NothingIsAllocated)
{
  So100Arm & arm = moving(kTorqueOff);
  for (std::size_t i = 0; i < 6; ++i) {
    world.faults.rates(i).drop = 0.1;
  }
  AllocationCounter::count = 0;
  AllocationCounter::watching = true;
  bool good = true;
  for (int i = 0; i < 200; ++i) {
    if (i % 20 == 5) {
      arm.stop();
    } else if (i % 20 == 12) {
      arm.reset_stop();
    }
    good = arm.read() && good;
    good = arm.write(goals.data()) && good;
  }
  AllocationCounter::watching = false;
  EXPECT_TRUE(good);
  EXPECT_EQ(AllocationCounter::count, 0u);
}

}  // namespace
}  // namespace so100_hardware
