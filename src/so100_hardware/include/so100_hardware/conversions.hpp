// SPDX-License-Identifier: Apache-2.0
// Between the numbers in the servo's registers and the units of ROS and of LeRobot. Everything
// goes through ticks, so that no two formulas have to agree about a turn: ROS counts 4096 ticks
// for it, LeRobot's degrees count 4095.
//
// Sign-magnitude fields are decoded before (feetech/registers.hpp): a raw number here is signed.
#pragma once

#include <optional>

#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware
{

inline constexpr int kTicksPerTurn = feetech::kTicksPerTurn;
inline constexpr int kMaxTick = kTicksPerTurn - 1;
inline constexpr double kPi = 3.14159265358979323846;
inline constexpr double kRadiansPerTick = 2.0 * kPi / kTicksPerTurn;

/// The calibrated range of a joint in ticks, both ends included.
struct TickRange
{
  int min = 0;
  int max = kMaxTick;

  /// 0 <= min < max <= 4095.
  constexpr bool valid() const { return 0 <= min && min < max && max <= kMaxTick; }
  /// LeRobot's zero of degrees and the zero of the URDF; a half tick where min + max is odd.
  constexpr double middle() const { return (min + max) / 2.0; }
  constexpr int clamp(int tick) const { return tick < min ? min : tick > max ? max : tick; }
};

constexpr bool operator==(const TickRange & a, const TickRange & b)
{
  return a.min == b.min && a.max == b.max;
}

/// A goal in ticks within the calibrated range.
struct Goal
{
  int tick = 0;
  bool clamped = false;  ///< the wanted position lies outside of the range
};

/// Position of the gripper's joint when closed and when open [rad]. The robot file has the same two
/// numbers (lower and upper, or closed and open of the gripper), and both ends must agree.
struct GripperAngles
{
  double closed = -0.174;
  double open = 1.75;
};

/// Ticks and radians of one joint: radians = (tick - zero) * radians per tick.
///
/// Body joints: 2 pi / 4096 per tick, 0 rad in the middle of the calibrated range. This is the
/// zero of LeRobot's degrees and of the "new calibration" URDF; as in LeRobot's degrees,
/// drive_mode plays no part. An axis that a URDF counts the other way round is turned by
/// sign in the robot file (smolvla_core/units/joint_units.py), not here.
///
/// The gripper: LeRobot counts it 0 at one end of its range and 100 at the other.
/// smolvla_core/units/joint_units.py maps 0-100 to `gripper_range` in radians; gripper() maps the
/// ends of the range to the same two angles. So 0-100 of a policy, sent through radians, arrives
/// at the tick that LeRobot sends. The price: its radians are as exact as the two angles are.
class JointConversion
{
public:
  /// A body joint; nullopt when the range is not valid.
  static std::optional<JointConversion> centered(TickRange range);

  /// The gripper; nullopt when the range is not valid, drive_mode is not 0 or 1, or the angles
  /// are equal or not finite. drive_mode 1 puts `closed` to range.max, as LeRobot's 0-100 does.
  static std::optional<JointConversion> gripper(
    TickRange range, int drive_mode = 0, GripperAngles angles = {});

  /// Position [rad] of a tick. Not clamped: a joint can stand outside of its range.
  double radians(int tick) const { return (tick - zero_) * radians_per_tick_; }

  /// Speed [rad/s] of steps (ticks) per second.
  double radians_per_second(int steps_per_second) const
  {
    return steps_per_second * radians_per_tick_;
  }

  /// Nearest tick within the calibrated range, halves away from zero. nullopt: NaN or infinite.
  std::optional<Goal> goal(double radians) const;

  TickRange range() const { return range_; }

private:
  JointConversion(TickRange range, double zero, double radians_per_tick)
  : range_(range), zero_(zero), radians_per_tick_(radians_per_tick)
  {
  }

  TickRange range_;
  double zero_;  // tick at 0 rad
  double radians_per_tick_;
};

// LeRobot's units, by its own formulas. nullopt: the range is not valid, or drive_mode is not 0 or 1.

/// Degrees from the middle of the range; LeRobot counts 4095 ticks a turn and does not clamp.
std::optional<double> lerobot_degrees(TickRange range, int tick);

/// 0 to 100 over the range, clamped to it; drive_mode 1 counts from the other end.
std::optional<double> lerobot_0_100(TickRange range, int drive_mode, int tick);

// Telemetry. Raw numbers are what the register holds, its sign bit decoded.

/// Present_Load: 0.1 % of the full duty cycle, as a share -1 to 1. Not a torque in N m.
constexpr double duty_from_load(int raw) { return raw / 1000.0; }
/// Present_Current, Protection_Current: 6.5 mA, in A.
constexpr double amperes_from_raw(int raw) { return raw * 6.5 / 1000.0; }
/// Present_Voltage and the voltage limits: 0.1 V, in V.
constexpr double volts_from_raw(int raw) { return raw / 10.0; }
/// Present_Temperature and its limit: whole degrees Celsius.
constexpr double celsius_from_raw(int raw) { return raw; }
/// Present_Velocity, Goal_Velocity: steps (ticks) per second, in rad/s.
constexpr double radians_per_second_from_steps(int steps) { return steps * kRadiansPerTick; }
}  // namespace so100_hardware
