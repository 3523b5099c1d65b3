// SPDX-License-Identifier: Apache-2.0
// Torque, faults and supply of one servo.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "servo_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;

/// A servo that has pushed against an obstacle, 1000 ticks before its goal.
ServoModel blocked(double seconds)
{
  ServoModel servo{ServoOptions{}};
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, seconds);
  return servo;
}

TEST(ServoTorque, OldGoalMakesTheJointJump)
{
  ServoModel servo{ServoOptions{}};
  drive_to(servo, 2500);
  put(servo, reg::torque_enable, 0);
  servo.dynamics().hold(1000.0, 1e5);
  live(servo, 0.1);
  servo.dynamics().release();
  put(servo, reg::torque_enable, 1);
  live(servo, 2.0);
  EXPECT_EQ(servo.get(reg::present_position), 2500);
}

TEST(ServoTorque, TorqueOnHoldsWhereItIsWhenAskedTo)
{
  ServoOptions options;
  options.torque_on_holds = true;
  ServoModel servo(options);
  drive_to(servo, 2500);
  put(servo, reg::torque_enable, 0);
  servo.dynamics().hold(1000.0, 1e5);
  live(servo, 0.1);
  servo.dynamics().release();
  put(servo, reg::torque_enable, 1);
  live(servo, 1.0);
  EXPECT_EQ(servo.get(reg::present_position), 1000);
  EXPECT_EQ(servo.get(reg::goal_position), 1000);
}

TEST(ServoTorque, GoalSwitchesTheTorqueOnWhenAskedTo)
{
  ServoOptions options;
  options.goal_enables_torque = true;
  ServoModel servo(options);
  put(servo, reg::goal_position, 1000);
  EXPECT_EQ(servo.get(reg::torque_enable), 1);
  live(servo, 2.0);
  EXPECT_EQ(servo.get(reg::present_position), 1000);
}

TEST(ServoTorque, TorqueAndGoalInOneWriteUseTheNewGoal)
{
  ServoModel servo{ServoOptions{}};
  const std::array<std::uint8_t, 4> bytes{1, 100, 0xD0, 0x07};  // 40…43: on, acceleration, 2000
  servo.write(reg::torque_enable.address, bytes.data(), bytes.size());
  live(servo, 1.0);
  EXPECT_EQ(servo.get(reg::present_position), 2000);
}

TEST(ServoTorque, FreshFromPowerTheGoalIsWhereTheJointIs)
{
  ServoModel servo{ServoOptions{}};
  servo.dynamics().hold(1234.0, 1e5);
  live(servo, 0.1);
  servo.dynamics().release();
  servo.power_cycle();
  put(servo, reg::torque_enable, 1);
  live(servo, 0.5);
  EXPECT_EQ(servo.get(reg::present_position), 1234);
}

TEST(ServoTorque, HoldingAWeightLeavesAnErrorThatHalvesWithTheGain)
{
  for (const int gain : {16, 32}) {
    ServoOptions options;
    options.joint = Joint{0.2, 900.0, 2048.0};
    ServoModel servo(options);
    put(servo, reg::p_coefficient, gain);
    drive_to(servo, 2048);
    EXPECT_EQ(servo.get(reg::present_position), 2048 - 8 * 32 / gain);
    EXPECT_NEAR(servo.get(reg::present_load), 200, 10);
  }
}

TEST(ServoTorque, LimpJointSinksSlowlyToItsRest)
{
  ServoOptions options;
  options.joint = Joint{0.2, 900.0, 2048.0};
  ServoModel servo(options);
  live(servo, 1.0);
  EXPECT_LT(servo.get(reg::present_position), 2000);
  EXPECT_GT(servo.get(reg::present_position), 1800);
  live(servo, 60.0);
  EXPECT_NEAR(servo.get(reg::present_position), 900, 2);
}

TEST(ServoTorque, TorqueLimitCapsTheLoad)
{
  ServoModel servo = blocked(0.5);
  EXPECT_EQ(servo.get(reg::present_load), 1000);
  put(servo, reg::torque_limit, 300);
  live(servo, 0.1);
  EXPECT_EQ(servo.get(reg::present_load), 300);
  EXPECT_NEAR(servo.get(reg::present_current), 0.3 * 2700.0 / 6.5, 1.0);
}

TEST(ServoTorque, OverloadLatchesAndLeavesTheProtectiveTorque)
{
  ServoModel servo = blocked(1.9);
  EXPECT_EQ(servo.status(), 0);
  live(servo, 0.3);
  EXPECT_EQ(servo.status(), bits::overload);
  EXPECT_EQ(servo.get(reg::status), bits::overload);
  live(servo, 0.1);
  EXPECT_EQ(servo.get(reg::present_load), 200);
  EXPECT_EQ(servo.get(reg::torque_enable), 1);
}

TEST(ServoTorque, OverloadThresholdTimeAndTorqueAreRegisters)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::overload_torque, 25);
  put(servo, reg::protection_time, 50);
  put(servo, reg::protective_torque, 10);
  put(servo, reg::torque_limit, 300);
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, 0.4);
  EXPECT_EQ(servo.status(), 0);
  live(servo, 0.3);
  EXPECT_EQ(servo.status(), bits::overload);
  EXPECT_EQ(servo.get(reg::present_load), 100);
}

TEST(ServoTorque, OverloadWithoutUnloadConditionOnlyReports)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::unload_condition, 0);
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, 2.5);
  EXPECT_EQ(servo.status(), bits::overload);
  EXPECT_EQ(servo.get(reg::present_load), 1000);
}

TEST(ServoTorque, OverloadIsForgivenByTorqueOffGoalToPresentTorqueOn)
{
  ServoModel servo = blocked(2.5);
  put(servo, reg::torque_enable, 0);
  live(servo, 0.1);
  EXPECT_EQ(servo.status(), bits::overload);
  put(servo, reg::goal_position, servo.get(reg::present_position));
  put(servo, reg::torque_enable, 1);
  EXPECT_EQ(servo.status(), 0);
  live(servo, 3.0);
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, OverloadStaysWhenTheGoalIsStillBehindTheObstacle)
{
  ServoModel servo = blocked(2.5);
  put(servo, reg::torque_enable, 0);
  put(servo, reg::torque_enable, 1);
  EXPECT_EQ(servo.status(), bits::overload);
  put(servo, reg::goal_position, servo.get(reg::present_position));
  EXPECT_EQ(servo.status(), bits::overload);  // the torque was not off in between
  servo.power_cycle();
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, OverCurrentUnloadsTheJoint)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::protection_current, 250);  // 1.6 A
  put(servo, reg::over_current_time, 50);
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, 1.0);
  EXPECT_EQ(servo.status(), bits::over_current);
  EXPECT_EQ(servo.get(reg::present_load), 0);
  EXPECT_EQ(servo.get(reg::present_current), 0);
}

TEST(ServoTorque, ZeroMeansNoOverloadAndNoCurrentLimit)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::overload_torque, 0);
  put(servo, reg::protection_current, 0);
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, 5.0);
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, FullSpeedIsNoOverload)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::operating_mode, 1);
  put(servo, reg::goal_velocity, 3400);
  put(servo, reg::torque_enable, 1);
  live(servo, 5.0);
  EXPECT_GT(servo.get(reg::present_load), 900);
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, HotServoLetsGoUntilItHasCooled)
{
  ServoOptions options;
  options.joint = Joint{0.2, 900.0, 2048.0};
  ServoModel servo(options);
  put(servo, reg::torque_enable, 1);
  live(servo, 0.5);
  servo.set_temperature(80.0);
  live(servo, 0.01);
  EXPECT_EQ(servo.status(), bits::overheat);
  EXPECT_EQ(servo.get(reg::present_temperature), 80);
  EXPECT_EQ(servo.get(reg::present_load), 0);
  servo.set_temperature(60.0);
  live(servo, 0.1);
  EXPECT_EQ(servo.status(), 0);
  EXPECT_GT(servo.get(reg::present_load), 100);
}

TEST(ServoTorque, EncoderFaultIsReportedAndDoesNotUnload)
{
  ServoModel servo{ServoOptions{}};
  servo.set_encoder_fault(true);
  live(servo, 0.01);
  EXPECT_EQ(servo.status(), bits::encoder);
  servo.set_encoder_fault(false);
  live(servo, 0.01);
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, UndervoltageIsReportedAndTheServoGoesOn)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::torque_enable, 1);
  live(servo, 0.1, 5.0);
  EXPECT_EQ(servo.status(), bits::voltage);
  EXPECT_EQ(servo.get(reg::present_voltage), 50);
  EXPECT_EQ(servo.get(reg::torque_enable), 1);
  put(servo, reg::min_voltage, 45);
  live(servo, 0.01, 5.0);
  EXPECT_EQ(servo.status(), 0);
}

TEST(ServoTorque, BelowFourVoltsItIsDeadAndComesBackAsAfterPowerOn)
{
  ServoModel servo{ServoOptions{}};
  put(servo, reg::p_coefficient, 16);  // locked: lost with the power
  put(servo, reg::torque_enable, 1);
  live(servo, 0.1, 3.9);
  EXPECT_FALSE(servo.powered());
  live(servo, 0.1, 12.0);
  EXPECT_TRUE(servo.powered());
  EXPECT_EQ(servo.get(reg::torque_enable), 0);
  EXPECT_EQ(servo.get(reg::p_coefficient), 32);
}

}  // namespace
}  // namespace so100_hardware::emulator
