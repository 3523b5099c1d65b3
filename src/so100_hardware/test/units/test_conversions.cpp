// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "lerobot_vectors.hpp"
#include "so100_hardware/conversions.hpp"

namespace so100_hardware
{
namespace
{

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kHuge = std::numeric_limits<double>::max();

std::vector<TickRange> many_ranges()
{
  std::vector<TickRange> ranges{{0, 4095}, {0, 1}, {4094, 4095}, {2000, 2003}, {755, 3327}};
  std::mt19937 random(4);
  std::uniform_int_distribution<int> tick(0, kMaxTick);
  while (ranges.size() < 60) {
    const TickRange range{tick(random), tick(random)};
    if (range.valid()) {
      ranges.push_back(range);
    }
  }
  return ranges;
}

TEST(Radians, EveryTickOfEveryRangeComesBack)
{
  for (const TickRange range : many_ranges()) {
    const auto joint = JointConversion::centered(range);
    const auto gripper = JointConversion::gripper(range);
    const auto reversed = JointConversion::gripper(range, 1);
    ASSERT_TRUE(joint && gripper && reversed);
    for (int tick = 0; tick <= kMaxTick; ++tick) {
      for (const auto & one : {*joint, *gripper, *reversed}) {
        const auto goal = one.goal(one.radians(tick));
        ASSERT_TRUE(goal);
        ASSERT_EQ(goal->tick, range.clamp(tick));
        ASSERT_EQ(goal->clamped, tick < range.min || tick > range.max);
      }
    }
  }
}

TEST(Radians, ZeroIsTheMiddleOfTheRangeAndATurnHas4096Ticks)
{
  const auto joint = JointConversion::centered({1000, 3000});
  ASSERT_TRUE(joint);
  EXPECT_DOUBLE_EQ(joint->radians(2000), 0.0);
  EXPECT_DOUBLE_EQ(joint->radians(2000 + 1024), kPi / 2);
  EXPECT_DOUBLE_EQ(joint->radians(2000 - 2048), -kPi);
  EXPECT_DOUBLE_EQ(joint->radians_per_second(-2048), -kPi);

  const auto odd = JointConversion::centered({1000, 3001});
  ASSERT_TRUE(odd);
  EXPECT_DOUBLE_EQ(odd->radians(2000), -kRadiansPerTick / 2);
}

TEST(Radians, ZeroIsThatOfLeRobotsDegrees)
{
  for (const TickRange range : many_ranges()) {
    const auto joint = JointConversion::centered(range);
    ASSERT_TRUE(joint);
    for (int tick = 0; tick <= kMaxTick; tick += 13) {
      // 4096 against 4095 ticks a turn is all that differs: 0.024 %.
      const double radians = *lerobot_degrees(range, tick) * kPi / 180.0 * 4095 / 4096;
      ASSERT_NEAR(joint->radians(tick), radians, 1e-12);
    }
  }
}

TEST(Radians, RoundToTheNearestTick)
{
  const auto joint = JointConversion::centered({0, 4094});  // zero at tick 2047
  ASSERT_TRUE(joint);
  EXPECT_EQ(joint->goal(0.49 * kRadiansPerTick)->tick, 2047);
  EXPECT_EQ(joint->goal(0.51 * kRadiansPerTick)->tick, 2048);
  EXPECT_EQ(joint->goal(-0.49 * kRadiansPerTick)->tick, 2047);
  EXPECT_EQ(joint->goal(-0.51 * kRadiansPerTick)->tick, 2046);
}

TEST(Radians, GripperMeetsZeroToHundredOfTheParameterGripperRange)
{
  const TickRange range{2034, 3486};
  const auto gripper = JointConversion::gripper(range);
  ASSERT_TRUE(gripper);
  EXPECT_NEAR(gripper->radians(range.min), -0.174, 1e-12);
  EXPECT_NEAR(gripper->radians(range.max), 1.75, 1e-12);
}

// A policy's 0-100 through the joint's radians and LeRobot's own way.
TEST(Radians, ZeroToHundredArrivesAtTheTickThatLeRobotSends)
{
  for (const auto & row : kFromUnitTo100) {
    const GripperAngles angles;
    const auto gripper = JointConversion::gripper({row.min, row.max}, row.drive_mode, angles);
    ASSERT_TRUE(gripper);
    const auto goal =
      gripper->goal(angles.closed + row.value / 100.0 * (angles.open - angles.closed));
    ASSERT_TRUE(goal);
    EXPECT_NEAR(goal->tick, row.tick, 1) << row.value;  // LeRobot cuts, this rounds
  }
}

TEST(Radians, GripperTurnsWithDriveModeAndWithSwappedAngles)
{
  const TickRange range{2034, 3486};
  const auto reversed = JointConversion::gripper(range, 1, {-0.1, 1.5});
  const auto swapped = JointConversion::gripper(range, 0, {1.5, -0.1});
  ASSERT_TRUE(reversed && swapped);
  for (const auto & gripper : {*reversed, *swapped}) {
    EXPECT_NEAR(gripper.radians(range.min), 1.5, 1e-12);
    EXPECT_NEAR(gripper.radians(range.max), -0.1, 1e-12);
    EXPECT_LT(gripper.radians_per_second(100), 0);
  }
}

TEST(Radians, GoalsAreClampedToTheRangeAndSaySo)
{
  const auto joint = JointConversion::centered({1000, 3000});
  ASSERT_TRUE(joint);
  for (const double far : {3.0, 1e9, kHuge}) {
    const auto high = joint->goal(far);
    const auto low = joint->goal(-far);
    ASSERT_TRUE(high && low);
    EXPECT_EQ(high->tick, 3000);
    EXPECT_TRUE(high->clamped);
    EXPECT_EQ(low->tick, 1000);
    EXPECT_TRUE(low->clamped);
  }
  // The exact end of the range is not an overshoot.
  EXPECT_FALSE(joint->goal(joint->radians(3000))->clamped);
  EXPECT_FALSE(joint->goal(joint->radians(1000))->clamped);
}

TEST(Radians, NotANumberIsRefused)
{
  const auto joint = JointConversion::centered({1000, 3000});
  ASSERT_TRUE(joint);
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    EXPECT_FALSE(joint->goal(bad));
  }
}

TEST(Radians, BadRangesAndAnglesAreRefused)
{
  for (const TickRange bad :
       {TickRange{5, 5}, TickRange{9, 5}, TickRange{-1, 5}, TickRange{5, 4096}}) {
    EXPECT_FALSE(JointConversion::centered(bad));
    EXPECT_FALSE(JointConversion::gripper(bad));
    EXPECT_FALSE(lerobot_degrees(bad, 7));
    EXPECT_FALSE(lerobot_0_100(bad, 0, 7));
  }
  const TickRange range{1000, 3000};
  EXPECT_FALSE(JointConversion::gripper(range, 2));
  EXPECT_FALSE(JointConversion::gripper(range, -1));
  EXPECT_FALSE(JointConversion::gripper(range, 0, {0.5, 0.5}));
  EXPECT_FALSE(JointConversion::gripper(range, 0, {kNan, 0.5}));
  EXPECT_FALSE(JointConversion::gripper(range, 0, {0.5, kInfinity}));
  EXPECT_FALSE(JointConversion::gripper(range, 0, {-kHuge, kHuge}));
  EXPECT_FALSE(lerobot_0_100(range, 2, 1500));
}

// The numbers below are LeRobot's own, to the last bit.

TEST(LeRobot, Degrees)
{
  for (const auto & row : kToUnitDegrees) {
    EXPECT_EQ(lerobot_degrees({row.min, row.max}, row.tick), row.value) << row.tick;
  }
}

TEST(LeRobot, ZeroToHundred)
{
  for (const auto & row : kToUnitTo100) {
    EXPECT_EQ(lerobot_0_100({row.min, row.max}, row.drive_mode, row.tick), row.value);
  }
}

TEST(Telemetry, Units)
{
  EXPECT_DOUBLE_EQ(duty_from_load(-250), -0.25);
  EXPECT_DOUBLE_EQ(amperes_from_raw(250), 1.625);
  EXPECT_DOUBLE_EQ(volts_from_raw(74), 7.4);
  EXPECT_DOUBLE_EQ(celsius_from_raw(41), 41.0);
  EXPECT_DOUBLE_EQ(radians_per_second_from_steps(-4096), -2 * kPi);
}

}  // namespace
}  // namespace so100_hardware
