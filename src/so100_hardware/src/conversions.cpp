// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/conversions.hpp"

#include <algorithm>
#include <cmath>

namespace so100_hardware
{
namespace
{

constexpr double kLeRobotTicksPerTurn = kTicksPerTurn - 1;

// The checks come before any cast: a cast of NaN or of a value that does not fit is undefined.
std::optional<int> nearest(double value, double lowest, double highest)
{
  const double rounded = std::round(value);
  if (!(rounded >= lowest && rounded <= highest)) {  // false for NaN too
    return std::nullopt;
  }
  return static_cast<int>(rounded);
}

std::optional<int> truncate(double value)
{
  if (!(std::fabs(value) < kMaxField + 1.0)) {
    return std::nullopt;
  }
  return static_cast<int>(value);
}

// A product that is rounded by itself, as in LeRobot. Left in the sum, a processor with a fused
// multiply-add (ARM) would differ from LeRobot in the last bit, and with that by a tick.
[[gnu::noinline]] double product(double a, double b) { return a * b; }

bool usable(TickRange range, int drive_mode)
{
  return range.valid() && (drive_mode == 0 || drive_mode == 1);
}

// 0 to 1 over the range.
double share(TickRange range, int tick)
{
  return static_cast<double>(range.clamp(tick) - range.min) / (range.max - range.min);
}

}  // namespace

std::optional<JointConversion> JointConversion::centered(TickRange range)
{
  if (!range.valid()) {
    return std::nullopt;
  }
  return JointConversion(range, range.middle(), kRadiansPerTick);
}

std::optional<JointConversion> JointConversion::gripper(
  TickRange range, int drive_mode, GripperAngles angles)
{
  if (
    !usable(range, drive_mode) || !std::isfinite(angles.closed) || !std::isfinite(angles.open) ||
    angles.closed == angles.open) {
    return std::nullopt;
  }
  const double at_min = drive_mode == 0 ? angles.closed : angles.open;
  const double at_max = drive_mode == 0 ? angles.open : angles.closed;
  const double radians_per_tick = (at_max - at_min) / (range.max - range.min);
  const double zero = range.min - at_min / radians_per_tick;
  if (!std::isfinite(radians_per_tick) || !std::isfinite(zero)) {
    return std::nullopt;
  }
  return JointConversion(range, zero, radians_per_tick);
}

std::optional<int> JointConversion::tick(double radians) const
{
  return nearest(radians / radians_per_tick_ + zero_, -kMaxField, kMaxField);
}

std::optional<Goal> JointConversion::goal(double radians) const
{
  if (!std::isfinite(radians)) {
    return std::nullopt;
  }
  const double wanted = std::round(radians / radians_per_tick_ + zero_);
  const double tick =
    std::clamp(wanted, static_cast<double>(range_.min), static_cast<double>(range_.max));
  return Goal{static_cast<int>(tick), tick != wanted};
}

double JointConversion::lower() const { return std::min(radians(range_.min), radians(range_.max)); }

double JointConversion::upper() const { return std::max(radians(range_.min), radians(range_.max)); }

std::optional<double> lerobot_degrees(TickRange range, int tick)
{
  if (!range.valid()) {
    return std::nullopt;
  }
  return (tick - range.middle()) * 360.0 / kLeRobotTicksPerTurn;
}

std::optional<int> tick_from_lerobot_degrees(TickRange range, double degrees)
{
  if (!range.valid()) {
    return std::nullopt;
  }
  return truncate(degrees * kLeRobotTicksPerTurn / 360.0 + range.middle());
}

std::optional<double> lerobot_m100_100(TickRange range, int drive_mode, int tick)
{
  if (!usable(range, drive_mode)) {
    return std::nullopt;
  }
  const double value = product(share(range, tick), 200.0) - 100.0;
  return drive_mode == 1 ? -value : value;
}

std::optional<int> tick_from_lerobot_m100_100(TickRange range, int drive_mode, double value)
{
  if (!usable(range, drive_mode) || !std::isfinite(value)) {
    return std::nullopt;
  }
  const double bounded = std::clamp(drive_mode == 1 ? -value : value, -100.0, 100.0);
  return truncate(product((bounded + 100.0) / 200.0, range.max - range.min) + range.min);
}

std::optional<double> lerobot_0_100(TickRange range, int drive_mode, int tick)
{
  if (!usable(range, drive_mode)) {
    return std::nullopt;
  }
  const double value = product(share(range, tick), 100.0);
  return drive_mode == 1 ? 100.0 - value : value;
}

std::optional<int> tick_from_lerobot_0_100(TickRange range, int drive_mode, double value)
{
  if (!usable(range, drive_mode) || !std::isfinite(value)) {
    return std::nullopt;
  }
  const double bounded = std::clamp(drive_mode == 1 ? 100.0 - value : value, 0.0, 100.0);
  return truncate(product(bounded / 100.0, range.max - range.min) + range.min);
}

}  // namespace so100_hardware
