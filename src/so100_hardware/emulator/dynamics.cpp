// SPDX-License-Identifier: Apache-2.0
#include "dynamics.hpp"

#include <algorithm>
#include <cmath>

namespace so100_hardware::emulator
{
namespace
{
constexpr double kRatedVoltage = 12.0;
/// Motor, gearbox and link together follow the torque balance with this lag, s.
constexpr double kMechanicalLag = 0.005;
/// Position error that asks for full duty at the factory's P of 32, ticks. Holding 20 % of the
/// stall torque then leaves 8 ticks, 0.7°; with LeRobot's P of 16 twice that.
constexpr double kFullDutyError = 40.0;
constexpr double kFactoryP = 32.0;
constexpr double kFactoryD = 32.0;
constexpr double kMostDamping = 4.0;  // more would make 1 ms steps unstable
/// Gravity fades within this distance of the rest pose, ticks.
constexpr double kRestWidth = 200.0;
/// The gearbox eats most of the torque that turns it from outside.
constexpr double kLimpShare = 0.2;
constexpr double kMovingSpeed = 5.0;  // steps/s
double approach(double value, double goal, double most)
{
  return value + std::clamp(goal - value, -most, most);
}
}  // namespace

Dynamics::Dynamics(const Joint & joint)
: joint_(joint), position_(joint.start), reference_(joint.start)
{
}

void Dynamics::hold(double position, double speed)
{
  hand_ = position;
  hand_speed_ = speed;
}

void Dynamics::release() { hand_.reset(); }

double Dynamics::gravity() const
{
  return joint_.gravity * std::clamp((position_ - joint_.rest) / kRestWidth, -1.0, 1.0);
}

void Dynamics::move_reference(double dt, const DriveCommand & command)
{
  const double most = command.acceleration * dt;
  if (command.drive == Drive::velocity) {
    reference_velocity_ = approach(reference_velocity_, command.speed, most);
    reference_ += reference_velocity_ * dt;
    // A blocked wheel does not store up the way that it could not go.
    reference_ = std::clamp(reference_, position_ - kFullDutyError, position_ + kFullDutyError);
    return;
  }
  const double distance = command.target - reference_;
  // The highest speed from which it can still stop at the target, in steps of dt.
  const double braking =
    std::sqrt(0.25 * most * most + 2.0 * command.acceleration * std::abs(distance)) - 0.5 * most;
  const double wanted = std::copysign(std::min(command.speed, braking), distance);
  reference_velocity_ = approach(reference_velocity_, wanted, most);
  const double way = reference_velocity_ * dt;
  if (std::abs(way) >= std::abs(distance) && way * distance >= 0.0) {
    reference_ = command.target;
    reference_velocity_ = 0.0;
  } else {
    reference_ += way;
  }
}

double Dynamics::duty_for(const DriveCommand & command, double no_load_speed) const
{
  const double stiffness = command.p_gain / (kFactoryP * kFullDutyError);
  const double damping = std::min(command.d_gain / kFactoryD, kMostDamping);
  const double speed = reference_velocity_ + damping * (reference_velocity_ - velocity_);
  const double duty = stiffness * (reference_ - position_) + speed / no_load_speed;
  return std::clamp(duty, -command.torque_limit, command.torque_limit);
}

void Dynamics::follow_hand(double dt)
{
  const double before = position_;
  position_ = approach(position_, *hand_, hand_speed_ * dt);
  velocity_ = (position_ - before) / dt;
}

void Dynamics::step(double dt, const DriveCommand & command)
{
  if (command.drive != last_drive_) {
    reference_ = position_;
    reference_velocity_ = velocity_;
    last_drive_ = command.drive;
  }
  const bool limp = command.drive == Drive::off;
  const double volts = std::max(command.voltage, 1.0) / kRatedVoltage;
  const double no_load_speed = kNoLoadSpeed * volts;
  if (!limp) {
    move_reference(dt, command);
  }
  duty_ = limp ? 0.0 : duty_for(command, no_load_speed);
  if (hand_) {
    follow_hand(dt);
  } else {
    const double share = (duty_ - gravity() / volts) * (limp ? kLimpShare : 1.0);
    velocity_ += (no_load_speed * share - velocity_) * (1.0 - std::exp(-dt / kMechanicalLag));
    position_ += velocity_ * dt;
  }
  strain_ = limp ? 0.0 : std::abs(duty_ - velocity_ / no_load_speed);
  current_ = kStallCurrent * volts * strain_;
  const bool underway = command.drive == Drive::position && reference_ != command.target;
  moving_ = underway || std::abs(velocity_) > kMovingSpeed;
}

}  // namespace so100_hardware::emulator
