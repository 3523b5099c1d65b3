// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "arm.hpp"
#include "servo_fixture.hpp"

namespace so100_hardware::emulator
{
namespace
{
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
namespace reg = feetech::registers;

constexpr TimePoint kStart{seconds(1000)};

std::vector<ServoOptions> six()
{
  std::vector<ServoOptions> servos(6);
  for (std::size_t i = 0; i < servos.size(); ++i) {
    servos[i].identity.id = static_cast<std::uint8_t>(i + 1);
    servos[i].joint = so100_joint(i);
  }
  return servos;
}

TEST(Arm, LivesInStepsWhateverTheCallsAre)
{
  Arm often(six());
  Arm seldom(six());
  often.advance_to(kStart);
  seldom.advance_to(kStart);
  for (int i = 1; i <= 3000; ++i) {
    often.advance_to(kStart + microseconds(333 * i));
  }
  seldom.advance_to(kStart + microseconds(999000));
  EXPECT_EQ(often.unit(1).servo.dynamics().position(), seldom.unit(1).servo.dynamics().position());
  EXPECT_LT(often.unit(1).servo.dynamics().position(), 2000.0);
}

TEST(Arm, TimeThatGoesBackIsNoTime)
{
  Arm arm(six());
  arm.advance_to(kStart + milliseconds(500));
  const double before = arm.unit(1).servo.dynamics().position();
  arm.advance_to(kStart);
  EXPECT_EQ(arm.unit(1).servo.dynamics().position(), before);
}

TEST(Arm, LongPauseIsCutToTenSeconds)
{
  Arm paused(six());
  Arm running(six());
  paused.advance_to(kStart);
  paused.advance_to(kStart + std::chrono::hours(24));
  running.advance_to(kStart);
  running.advance_to(kStart + seconds(10));
  EXPECT_NEAR(
    paused.unit(1).servo.dynamics().position(), running.unit(1).servo.dynamics().position(), 1.0);
}

TEST(Arm, LoadOfAllServosPullsTheVoltageDown)
{
  Arm arm(six(), 12.0);
  arm.advance_to(kStart);
  EXPECT_EQ(arm.unit(0).servo.get(reg::present_voltage), 120);
  for (std::size_t i = 0; i < arm.size(); ++i) {
    ServoModel & servo = arm.unit(i).servo;
    servo.dynamics().hold(2048.0, 1.0);
    put(servo, reg::torque_enable, 1);
    put(servo, reg::goal_position, 3000);
  }
  arm.advance_to(kStart + seconds(1));
  const int loaded = arm.unit(0).servo.get(reg::present_voltage);
  EXPECT_LT(loaded, 105);
  EXPECT_GT(loaded, 90);
  arm.set_supply(7.4);
  for (std::size_t i = 0; i < arm.size(); ++i) {
    put(arm.unit(i).servo, reg::torque_enable, 0);
  }
  arm.advance_to(kStart + seconds(2));
  EXPECT_EQ(arm.unit(0).servo.get(reg::present_voltage), 74);
}

TEST(Arm, FoldsWhenItIsLimpExceptWhereNothingPulls)
{
  Arm arm(six());
  arm.advance_to(kStart);
  for (int i = 1; i <= 6; ++i) {
    arm.advance_to(kStart + seconds(10 * i));
  }
  for (const std::size_t i : {0, 4, 5}) {
    EXPECT_EQ(arm.unit(i).servo.get(reg::present_position), 2048) << i;
  }
  for (const std::size_t i : {1, 2, 3}) {
    const double rest = so100_joint(i).rest;
    EXPECT_NEAR(arm.unit(i).servo.get(reg::present_position), rest, 5.0) << i;
  }
}

}  // namespace
}  // namespace so100_hardware::emulator
