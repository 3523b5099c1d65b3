// SPDX-License-Identifier: Apache-2.0
// One servo: positions, limits, modes, memory, torque, faults and supply.
#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

#include "servo_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
namespace bits = feetech::status_bits;

ServoOptions at(double start)
{
  ServoOptions options;
  options.joint.start = start;
  return options;
}

TEST(ServoModel, TableEndsWhereItEnds)
{
  ServoModel servo(at(2048.0));
  std::array<std::uint8_t, 4> bytes{};
  servo.read(reg::model_number.address, 4, bytes.data());
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{0x09, 0x03, 1, 0}));
  bytes.fill(0xAA);
  servo.read(254, 4, bytes.data());
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{0, 0, 0, 0}));
  const std::array<std::uint8_t, 8> many{1, 2, 3, 4, 5, 6, 7, 8};
  servo.write(252, many.data(), many.size());
  EXPECT_EQ(servo.get(reg::firmware_major), 3);
}

TEST(ServoModel, MovesToTheGoalWithTorqueAndReportsIt)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::goal_position, 1000);
  live(servo, 1.0);
  EXPECT_EQ(servo.get(reg::present_position), 2048);
  put(servo, reg::torque_enable, 1);
  live(servo, 0.2);
  EXPECT_LT(servo.get(reg::present_velocity), -500);
  EXPECT_LT(servo.get(reg::present_load), 0);
  EXPECT_EQ(servo.get(reg::moving), 1);
  live(servo, 3.0);
  EXPECT_EQ(servo.get(reg::present_position), 1000);
  EXPECT_EQ(servo.get(reg::goal_position_mirror), 1000);
  EXPECT_EQ(servo.get(reg::present_velocity), 0);
  EXPECT_EQ(servo.get(reg::moving), 0);
}

TEST(ServoModel, AccelerationAndSpeedRegistersCount)
{
  struct Case
  {
    std::vector<std::pair<feetech::Register, int>> registers;
    double seconds;
    int velocity;
  };
  const std::vector<Case> cases{
    {{{reg::acceleration, 10}}, 0.1, 100},  // 1000 steps/s²
    {{{reg::goal_velocity, 300}}, 1.0, 300},
    {{{reg::max_acceleration, 5}, {reg::acceleration, 254}}, 0.2, 100},
    {{{reg::max_acceleration, 5}, {reg::acceleration, 0}}, 0.2, 100},  // 0: as fast as allowed
    {{{reg::max_velocity_limit, 20}, {reg::goal_velocity, 3000}}, 1.0, 1000},
  };
  for (const Case & one : cases) {
    ServoModel servo(at(0.0));
    for (const auto & [entry, value] : one.registers) {
      put(servo, entry, value);
    }
    put(servo, reg::torque_enable, 1);
    put(servo, reg::goal_position, 4000);
    live(servo, one.seconds);
    EXPECT_NEAR(servo.get(reg::present_velocity), one.velocity, 10) << one.registers[0].first.name;
  }
}

TEST(ServoModel, LimitsClampTheGoal)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::min_position_limit, 1500);
  put(servo, reg::max_position_limit, 2500);
  drive_to(servo, 4000);
  EXPECT_EQ(servo.get(reg::present_position), 2500);
  EXPECT_EQ(servo.get(reg::goal_position), 4000);
  EXPECT_EQ(servo.get(reg::goal_position_mirror), 2500);
  drive_to(servo, 0);
  EXPECT_EQ(servo.get(reg::present_position), 1500);
}

TEST(ServoModel, GoalIsCountedWithTheOffset)
{
  ServoModel servo(at(1000.0));
  put(servo, reg::homing_offset, -1047);  // present 2047
  drive_to(servo, 2247);
  EXPECT_EQ(servo.get(reg::present_position), 2247);
  EXPECT_NEAR(servo.dynamics().position(), 1200.0, 0.5);
}

TEST(ServoModel, PositionWrapsWithinOneTurnUnlessPhaseBit4IsSet)
{
  ServoModel servo(at(100.0));
  put(servo, reg::homing_offset, 200);
  EXPECT_EQ(servo.get(reg::present_position), 3996);
  ServoModel multi(at(100.0));
  put(multi, reg::phase, 0x1C);
  put(multi, reg::homing_offset, 200);
  EXPECT_EQ(multi.get(reg::present_position), -100);
  multi.dynamics().hold(5000.0, 1e5);
  live(multi, 0.2);
  EXPECT_EQ(multi.get(reg::present_position), 4800);
  put(multi, reg::phase, 0x0C);
  EXPECT_EQ(multi.get(reg::present_position), 704);
}

TEST(ServoModel, GravityAtTheEndOfTheRangeDoesNotSendItRoundTheTurn)
{
  ServoOptions options = at(5.0);
  options.joint.gravity = 0.2;
  options.joint.rest = -1000.0;
  ServoModel servo(options);
  put(servo, reg::torque_enable, 1);
  for (int i = 0; i < 100; ++i) {  // a controller that repeats its goal
    put(servo, reg::goal_position, 0);
    live(servo, 0.02);
  }
  EXPECT_NEAR(servo.dynamics().position(), -8.0, 1.0);
}

TEST(ServoModel, Writing128MakesThisTheCenterForGoodAndKeepsTheTorque)
{
  for (const int torque : {0, 1}) {
    ServoModel servo(at(3000.0));
    put(servo, reg::torque_enable, torque);
    put(servo, reg::torque_enable, 128);
    EXPECT_EQ(servo.get(reg::homing_offset), 952);
    EXPECT_EQ(servo.get(reg::torque_enable), torque);
    live(servo, 1.0);
    EXPECT_NEAR(servo.dynamics().position(), 3000.0, 0.5);
    servo.power_cycle();
    EXPECT_EQ(servo.get(reg::present_position), 2048);
  }
}

TEST(ServoModel, VelocityMode)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::operating_mode, 1);
  put(servo, reg::goal_velocity, -800);
  put(servo, reg::torque_enable, 1);
  live(servo, 5.0);
  EXPECT_NEAR(servo.get(reg::present_velocity), -800, 5);
  EXPECT_GE(servo.get(reg::present_position), 0);
  EXPECT_LT(servo.get(reg::present_position), 4096);
}

TEST(ServoModel, EepromWriteActsAtOnceAndIsKeptOnlyWhenUnlocked)
{
  ServoModel servo(at(2048.0));
  for (const feetech::Register & entry : {reg::p_coefficient, reg::max_acceleration}) {
    const int factory = servo.get(entry);
    put(servo, entry, 16);
    EXPECT_EQ(servo.get(entry), 16);
    servo.power_cycle();
    EXPECT_EQ(servo.get(entry), factory);
    put(servo, reg::lock, 0);
    put(servo, entry, 16);
    servo.power_cycle();
    EXPECT_EQ(servo.get(entry), 16);
    EXPECT_EQ(servo.get(reg::lock), 1);
  }
}

TEST(ServoModel, MaxTorqueBecomesTheLimitOnlyWithThePower)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::lock, 0);
  put(servo, reg::max_torque, 500);
  EXPECT_EQ(servo.get(reg::torque_limit), 1000);
  servo.power_cycle();
  EXPECT_EQ(servo.get(reg::torque_limit), 500);
}

TEST(ServoModel, WhatAClientMayNotWriteStays)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::lock, 0);
  put(servo, reg::model_number, 1);
  put(servo, reg::present_voltage, 3);
  const std::uint8_t byte = 254;
  servo.write(reg::id.address, &byte, 1);
  servo.write(reg::baud_rate.address, &byte, 1);
  servo.write(50, &byte, 1);  // reserved
  EXPECT_EQ(servo.get(reg::model_number), 777);
  EXPECT_EQ(servo.get(reg::present_voltage), 120);
  EXPECT_EQ(servo.id(), 1);
  EXPECT_EQ(servo.baud(), 1000000);
  std::uint8_t reserved = 1;
  servo.read(50, 1, &reserved);
  EXPECT_EQ(reserved, 0);
}

TEST(ServoModel, PowerCycleForgetsTurnsAndTorqueAndStaysInPlace)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::phase, 0x1C);
  put(servo, reg::min_position_limit, 0);
  put(servo, reg::max_position_limit, 0);
  drive_to(servo, 5000);
  servo.power_cycle();
  EXPECT_EQ(servo.get(reg::torque_enable), 0);
  EXPECT_EQ(servo.get(reg::present_position), 5000 - 4096);
  EXPECT_EQ(servo.get(reg::goal_position), 5000 - 4096);
}

/// A servo with these settings that has pushed against an obstacle, 1000 ticks before its goal.
ServoModel blocked(
  double seconds, const std::vector<std::pair<feetech::Register, int>> & settings = {})
{
  ServoModel servo{ServoOptions{}};
  for (const auto & [entry, value] : settings) {
    put(servo, entry, value);
  }
  servo.dynamics().hold(2048.0, 1.0);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 3048);
  live(servo, seconds);
  return servo;
}

TEST(ServoTorque, OldGoalMakesTheJointJumpUnlessItHoldsWhereItIs)
{
  for (const bool holds : {false, true}) {
    ServoOptions options;
    options.torque_on_holds = holds;
    ServoModel servo(options);
    drive_to(servo, 2500);
    put(servo, reg::torque_enable, 0);
    servo.dynamics().hold(1000.0, 1e5);
    live(servo, 0.1);
    servo.dynamics().release();
    put(servo, reg::torque_enable, 1);
    live(servo, 2.0);
    EXPECT_EQ(servo.get(reg::present_position), holds ? 1000 : 2500);
  }
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
  ServoModel servo = blocked(
    0.4, {{reg::overload_torque, 25},
          {reg::protection_time, 50},
          {reg::protective_torque, 10},
          {reg::torque_limit, 300}});
  EXPECT_EQ(servo.status(), 0);
  live(servo, 0.3);
  EXPECT_EQ(servo.status(), bits::overload);
  EXPECT_EQ(servo.get(reg::present_load), 100);
}

TEST(ServoTorque, OverloadWithoutUnloadConditionOnlyReports)
{
  const ServoModel servo = blocked(2.5, {{reg::unload_condition, 0}});
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
  const ServoModel servo =
    blocked(1.0, {{reg::protection_current, 250}, {reg::over_current_time, 50}});  // 1.6 A
  EXPECT_EQ(servo.status(), bits::over_current);
  EXPECT_EQ(servo.get(reg::present_load), 0);
}

TEST(ServoTorque, ZeroMeansNoOverloadAndNoCurrentLimit)
{
  EXPECT_EQ(blocked(5.0, {{reg::overload_torque, 0}, {reg::protection_current, 0}}).status(), 0);
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
