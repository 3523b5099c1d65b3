// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

namespace so100_hardware::emulator
{

/// What hangs on the shaft of one servo. Positions are encoder ticks (4096 a turn), without offset.
struct Joint
{
  double gravity = 0.0;   ///< share of the 12 V stall torque that pulls toward `rest`, 0…1
  double rest = 2048.0;   ///< where the limp joint comes to lie
  double start = 2048.0;  ///< where it is when the emulator starts
};

/// What the servo's electronics ask of the motor.
enum class Drive {
  off,       ///< limp: only the gearbox brakes
  position,  ///< to `target`, along a trapezoid of speed
  velocity,  ///< at `speed`
};

/// One set of demands; steps are ticks.
struct DriveCommand
{
  Drive drive = Drive::off;
  double target = 0.0;            ///< ticks, not wrapped
  double speed = 3400.0;          ///< steps/s: the limit (position) or the signed goal (velocity)
  double acceleration = 25400.0;  ///< steps/s²
  double torque_limit = 1.0;      ///< 0…1, caps the duty
  double p_gain = 32.0;           ///< register 21; stiffness grows with it
  double d_gain = 32.0;           ///< register 22; damping grows with it
  double voltage = 12.0;          ///< at the servo's terminals
};

/// A geared DC motor with a joint on it: a first-order lag behind the torque balance
/// `speed = no-load speed · (duty − load)`, and a PD controller with feed-forward of the speed. Pure
/// arithmetic; the same inputs give the same outputs.
class Dynamics
{
public:
  /// Speed without load at 12 V, steps/s.
  static constexpr double kNoLoadSpeed = 3400.0;
  /// Current of the blocked motor at 12 V, A.
  static constexpr double kStallCurrent = 2.7;

  explicit Dynamics(const Joint & joint);

  /// Moves on by `dt` seconds; about 1 ms is meant.
  void step(double dt, const DriveCommand & command);

  /// A hand (or an obstacle) takes the joint to `position` at `speed` steps/s and holds it
  /// there whatever the motor does, until release().
  void hold(double position, double speed);
  void release();
  bool held() const { return hand_.has_value(); }

  /// Encoder angle, ticks, not wrapped: it counts turns.
  double position() const { return position_; }
  double velocity() const { return velocity_; }  ///< steps/s
  double load() const { return duty_; }          ///< signed duty, −1…1
  /// Torque as a share of the stall torque, never negative: what overload is judged by. The
  /// duty alone is high at full speed too.
  double strain() const { return strain_; }
  double current() const { return current_; }  ///< A, never negative
  /// True on the way to a goal, and when the joint turns at all.
  bool moving() const { return moving_; }

private:
  void move_reference(double dt, const DriveCommand & command);
  double duty_for(const DriveCommand & command, double no_load_speed) const;
  double gravity() const;
  void follow_hand(double dt);

  Joint joint_;
  double position_;
  double velocity_ = 0.0;
  double duty_ = 0.0;
  double strain_ = 0.0;
  double current_ = 0.0;
  bool moving_ = false;
  Drive last_drive_ = Drive::off;
  double reference_;
  double reference_velocity_ = 0.0;
  std::optional<double> hand_;
  double hand_speed_ = 0.0;
};

}  // namespace so100_hardware::emulator
