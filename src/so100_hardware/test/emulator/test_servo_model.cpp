// SPDX-License-Identifier: Apache-2.0
// Positions, offsets, limits, modes and memory of one servo.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "servo_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;

ServoOptions at(double start)
{
  ServoOptions options;
  options.joint.start = start;
  return options;
}

TEST(ServoModel, ReadGivesBytesOfTheTableAndZerosBehindIt)
{
  const ServoModel servo(at(2048.0));
  std::array<std::uint8_t, 4> bytes{};
  servo.read(reg::model_number.address, 4, bytes.data());
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{0x09, 0x03, 1, 0}));
  bytes.fill(0xAA);
  servo.read(254, 4, bytes.data());
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{0, 0, 0, 0}));
}

TEST(ServoModel, WriteBehindTheTableIsCut)
{
  ServoModel servo(at(2048.0));
  const std::array<std::uint8_t, 8> bytes{1, 2, 3, 4, 5, 6, 7, 8};
  servo.write(252, bytes.data(), bytes.size());
  EXPECT_EQ(servo.get(reg::firmware_major), 3);
}

TEST(ServoModel, MovesToTheGoalAndReportsIt)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_position, 1000);
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

TEST(ServoModel, StaysWithoutTorque)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::goal_position, 1000);
  live(servo, 1.0);
  EXPECT_EQ(servo.get(reg::present_position), 2048);
  EXPECT_EQ(servo.get(reg::torque_enable), 0);
}

TEST(ServoModel, AccelerationAndSpeedRegistersCount)
{
  ServoModel servo(at(0.0));
  put(servo, reg::torque_enable, 1);
  put(servo, reg::acceleration, 10);  // 1000 steps/s²
  put(servo, reg::goal_velocity, 300);
  put(servo, reg::goal_position, 4000);
  live(servo, 0.1);
  EXPECT_NEAR(servo.get(reg::present_velocity), 100, 10);
  live(servo, 1.0);
  EXPECT_NEAR(servo.get(reg::present_velocity), 300, 5);
}

TEST(ServoModel, MaximumAccelerationCapsTheAcceleration)
{
  ServoModel servo(at(0.0));
  put(servo, reg::max_acceleration, 5);  // 500 steps/s²
  put(servo, reg::torque_enable, 1);
  put(servo, reg::acceleration, 254);
  put(servo, reg::goal_position, 4000);
  live(servo, 0.2);
  EXPECT_NEAR(servo.get(reg::present_velocity), 100, 10);
  put(servo, reg::acceleration, 0);  // 0: as fast as allowed
  live(servo, 0.2);
  EXPECT_NEAR(servo.get(reg::present_velocity), 200, 15);
}

TEST(ServoModel, SpeedEndsAtTheServosOwnLimit)
{
  ServoModel servo(at(0.0));
  put(servo, reg::max_velocity_limit, 20);  // 1000 steps/s
  put(servo, reg::torque_enable, 1);
  put(servo, reg::goal_velocity, 3000);
  put(servo, reg::goal_position, 4000);
  live(servo, 1.0);
  EXPECT_NEAR(servo.get(reg::present_velocity), 1000, 10);
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

TEST(ServoModel, BothLimitsZeroMeansNoLimit)
{
  ServoModel servo(at(2048.0));
  put(servo, reg::phase, 0x1C);
  put(servo, reg::min_position_limit, 0);
  put(servo, reg::max_position_limit, 0);
  put(servo, reg::goal_velocity, 0);
  drive_to(servo, -3000);
  EXPECT_EQ(servo.get(reg::present_position), -3000);
  drive_to(servo, 6000);
  live(servo, 2.0);
  EXPECT_EQ(servo.get(reg::present_position), 6000);
}

TEST(ServoModel, OffsetIsTakenOffTheEncoder)
{
  ServoModel servo(at(1000.0));
  for (const int offset : {300, -300, 2047, -2047, 0}) {
    put(servo, reg::homing_offset, offset);
    const int expected = (1000 - offset + 4096) % 4096;
    EXPECT_EQ(servo.get(reg::present_position), expected) << offset;
  }
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

TEST(ServoModel, Writing128MakesThisTheCenterForGood)
{
  ServoModel servo(at(3000.0));
  put(servo, reg::torque_enable, 128);
  EXPECT_EQ(servo.get(reg::present_position), 2048);
  EXPECT_EQ(servo.get(reg::homing_offset), 952);
  EXPECT_EQ(servo.get(reg::torque_enable), 0);
  EXPECT_EQ(servo.get(reg::goal_position), 2048);
  servo.power_cycle();
  EXPECT_EQ(servo.get(reg::present_position), 2048);
}

TEST(ServoModel, Writing128WithTorqueOnKeepsTheTorqueAndTheJoint)
{
  ServoModel servo(at(3000.0));
  put(servo, reg::torque_enable, 1);
  put(servo, reg::torque_enable, 128);
  EXPECT_EQ(servo.get(reg::torque_enable), 1);
  live(servo, 1.0);
  EXPECT_NEAR(servo.dynamics().position(), 3000.0, 0.5);
}

TEST(ServoModel, RegWriteWaitsForAction)
{
  ServoModel servo(at(2048.0));
  const std::array<std::uint8_t, 2> goal{0xE8, 0x03};
  servo.reg_write(reg::goal_position.address, goal.data(), goal.size());
  EXPECT_EQ(servo.get(reg::async_write), 1);
  EXPECT_EQ(servo.get(reg::goal_position), 2048);
  servo.action();
  EXPECT_EQ(servo.get(reg::async_write), 0);
  EXPECT_EQ(servo.get(reg::goal_position), 1000);
  put(servo, reg::goal_position, 2000);
  servo.action();  // nothing waits any more
  EXPECT_EQ(servo.get(reg::goal_position), 2000);
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

TEST(ServoModel, HasNoPwmAndNoStepMode)
{
  for (const int mode : {2, 3}) {
    ServoModel servo(at(2048.0));
    put(servo, reg::operating_mode, mode);
    put(servo, reg::torque_enable, 1);
    put(servo, reg::goal_position, 100);
    live(servo, 1.0);
    EXPECT_EQ(servo.get(reg::present_position), 2048) << mode;
  }
}

TEST(ServoModel, ReturnDelayIsInTwoMicroseconds)
{
  ServoModel servo(at(2048.0));
  EXPECT_EQ(servo.return_delay(), std::chrono::microseconds(500));
  put(servo, reg::return_delay, 3);
  EXPECT_EQ(servo.return_delay(), std::chrono::microseconds(6));
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

TEST(ServoModel, FactoryResetSwitchesTheTorqueOff)
{
  ServoModel servo(at(1000.0));
  put(servo, reg::homing_offset, 500);
  put(servo, reg::torque_enable, 1);
  put(servo, reg::id, 7);
  servo.factory_reset();
  EXPECT_EQ(servo.id(), 7);
  EXPECT_EQ(servo.get(reg::torque_enable), 0);
  EXPECT_EQ(servo.get(reg::present_position), 1000);
}

}  // namespace
}  // namespace so100_hardware::emulator
