// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "dynamics.hpp"

namespace so100_hardware::emulator
{
namespace
{
constexpr double kStep = 0.001;

DriveCommand to(double target)
{
  DriveCommand command;
  command.drive = Drive::position;
  command.target = target;
  return command;
}

void run(Dynamics & joint, double seconds, const DriveCommand & command)
{
  for (int i = 0; i < static_cast<int>(seconds / kStep + 0.5); ++i) {
    joint.step(kStep, command);
  }
}

TEST(Dynamics, ReachesTheGoalAndStops)
{
  Dynamics joint(Joint{});
  run(joint, 2.0, to(3000.0));
  EXPECT_NEAR(joint.position(), 3000.0, 0.5);
  EXPECT_NEAR(joint.velocity(), 0.0, 0.5);
  EXPECT_NEAR(joint.load(), 0.0, 0.01);
  EXPECT_FALSE(joint.moving());
}

TEST(Dynamics, HardlyOvershoots)
{
  Dynamics joint(Joint{});
  double highest = 0.0;
  for (int i = 0; i < 2000; ++i) {
    joint.step(kStep, to(3000.0));
    highest = std::max(highest, joint.position());
  }
  EXPECT_LT(highest, 3010.0);
}

TEST(Dynamics, KeepsTheSpeedLimit)
{
  Dynamics joint(Joint{});
  DriveCommand command = to(4000.0);
  command.speed = 500.0;
  double fastest = 0.0;
  for (int i = 0; i < 1000; ++i) {
    joint.step(kStep, command);
    fastest = std::max(fastest, joint.velocity());
  }
  EXPECT_LT(fastest, 550.0);  // a little more for a moment, until it has caught up
  EXPECT_NEAR(joint.velocity(), 500.0, 1.0);
  EXPECT_TRUE(joint.moving());
  // 1000 steps further at 500 steps/s take two seconds, and a little for start and stop.
  EXPECT_NEAR(joint.position(), 2048.0 + 500.0, 20.0);
}

TEST(Dynamics, DampingTakesTheOvershootAway)
{
  const auto highest = [](double d_gain) {
    Dynamics joint(Joint{});
    DriveCommand command = to(2100.0);
    command.d_gain = d_gain;
    double most = 0.0;
    for (int i = 0; i < 1000; ++i) {
      joint.step(kStep, command);
      most = std::max(most, joint.position());
    }
    return most - 2100.0;
  };
  EXPECT_LT(highest(64.0), highest(0.0));
  EXPECT_LT(std::abs(highest(254.0)), 5.0);  // the largest value is stable still
}

TEST(Dynamics, KeepsTheAcceleration)
{
  Dynamics joint(Joint{});
  DriveCommand command = to(4000.0);
  command.acceleration = 1000.0;
  run(joint, 0.5, command);
  EXPECT_NEAR(joint.velocity(), 500.0, 20.0);
  EXPECT_NEAR(joint.position(), 2048.0 + 0.5 * 1000.0 * 0.25, 10.0);
}

TEST(Dynamics, IsSlowerOnALowerVoltage)
{
  Dynamics joint(Joint{});
  DriveCommand command = to(20000.0);
  command.speed = 10000.0;
  command.voltage = 6.0;
  run(joint, 1.0, command);
  EXPECT_NEAR(joint.velocity(), Dynamics::kNoLoadSpeed / 2.0, 20.0);
}

TEST(Dynamics, SagsUnderGravityAndLessWithMoreGain)
{
  const Joint heavy{0.2, 900.0, 2048.0};
  Dynamics soft(heavy);
  Dynamics stiff(heavy);
  DriveCommand command = to(2048.0);
  command.p_gain = 16.0;
  run(soft, 1.0, command);
  command.p_gain = 32.0;
  run(stiff, 1.0, command);
  EXPECT_NEAR(soft.position(), 2048.0 - 16.0, 0.5);
  EXPECT_NEAR(stiff.position(), 2048.0 - 8.0, 0.5);
  EXPECT_NEAR(stiff.load(), 0.2, 0.01);
  EXPECT_NEAR(stiff.current(), 0.2 * Dynamics::kStallCurrent, 0.05);
}

TEST(Dynamics, LimpJointSinksSlowlyToItsRest)
{
  Dynamics joint(Joint{0.2, 900.0, 2048.0});
  run(joint, 1.0, DriveCommand{});
  EXPECT_LT(joint.position(), 2000.0);
  EXPECT_GT(joint.position(), 1800.0);
  EXPECT_EQ(joint.load(), 0.0);
  EXPECT_EQ(joint.current(), 0.0);
  run(joint, 60.0, DriveCommand{});
  EXPECT_NEAR(joint.position(), 900.0, 2.0);
}

TEST(Dynamics, DampedJointSinksSlowerThanALimpOne)
{
  const Joint heavy{0.2, 900.0, 2048.0};
  Dynamics limp(heavy);
  Dynamics damped(heavy);
  DriveCommand shorted;
  shorted.drive = Drive::damped;
  run(limp, 1.0, DriveCommand{});
  run(damped, 1.0, shorted);
  EXPECT_GT(damped.position(), limp.position() + 50.0);
  EXPECT_LT(damped.position(), 2047.0);
}

TEST(Dynamics, JointWithoutWeightStaysWhereItIs)
{
  Dynamics joint(Joint{});
  run(joint, 5.0, DriveCommand{});
  EXPECT_EQ(joint.position(), 2048.0);
}

TEST(Dynamics, HandTakesALimpJointAlong)
{
  Dynamics joint(Joint{});
  joint.hold(1048.0, 2000.0);
  run(joint, 0.25, DriveCommand{});
  EXPECT_NEAR(joint.position(), 1548.0, 1e-6);
  EXPECT_NEAR(joint.velocity(), -2000.0, 1e-6);
  run(joint, 1.0, DriveCommand{});
  EXPECT_EQ(joint.position(), 1048.0);
  EXPECT_EQ(joint.velocity(), 0.0);
}

TEST(Dynamics, BlockedJointPushesWithAllItsTorqueAndGoesOnWhenReleased)
{
  Dynamics joint(Joint{});
  joint.hold(2048.0, 2000.0);
  DriveCommand command = to(3000.0);
  command.torque_limit = 0.5;
  run(joint, 1.0, command);
  EXPECT_EQ(joint.position(), 2048.0);
  EXPECT_DOUBLE_EQ(joint.load(), 0.5);
  EXPECT_NEAR(joint.current(), 0.5 * Dynamics::kStallCurrent, 1e-9);
  joint.release();
  run(joint, 2.0, command);
  EXPECT_NEAR(joint.position(), 3000.0, 1.0);
}

TEST(Dynamics, TooLittleTorqueLetsTheJointDrop)
{
  Dynamics joint(Joint{0.2, 900.0, 2048.0});
  DriveCommand command = to(2048.0);
  command.torque_limit = 0.1;
  run(joint, 3.0, command);
  EXPECT_LT(joint.position(), 1500.0);
  EXPECT_DOUBLE_EQ(joint.load(), 0.1);
}

TEST(Dynamics, VelocityDriveTurnsOnForEver)
{
  Dynamics joint(Joint{});
  DriveCommand command;
  command.drive = Drive::velocity;
  command.speed = -1000.0;
  run(joint, 10.0, command);
  EXPECT_NEAR(joint.velocity(), -1000.0, 5.0);
  EXPECT_NEAR(joint.position(), 2048.0 - 10000.0, 100.0);
}

TEST(Dynamics, PwmDriveGivesASpeedInProportion)
{
  Dynamics joint(Joint{});
  DriveCommand command;
  command.drive = Drive::pwm;
  command.duty = 0.25;
  run(joint, 1.0, command);
  EXPECT_NEAR(joint.velocity(), 0.25 * Dynamics::kNoLoadSpeed, 1.0);
}

TEST(Dynamics, TorqueOnStartsFromWhereTheJointIs)
{
  Dynamics joint(Joint{});
  run(joint, 1.0, to(3000.0));
  joint.hold(1000.0, 100000.0);
  run(joint, 0.1, DriveCommand{});
  joint.release();
  joint.step(kStep, to(1000.0));
  // The reference of the last motion (3000) would give full duty.
  EXPECT_NEAR(joint.load(), 0.0, 0.01);
}

TEST(Dynamics, WarmsUnderLoadAndCoolsWithout)
{
  Dynamics joint(Joint{});
  joint.hold(2048.0, 1.0);
  run(joint, 60.0, to(3000.0));
  const double hot = joint.temperature();
  EXPECT_GT(hot, 60.0);
  EXPECT_LT(hot, 90.0);
  run(joint, 300.0, DriveCommand{});
  EXPECT_LT(joint.temperature(), 50.0);
  EXPECT_GT(joint.temperature(), Dynamics::kAmbient);
}

}  // namespace
}  // namespace so100_hardware::emulator
