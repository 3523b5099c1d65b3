// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/conversions.hpp"

#include <algorithm>
#include <cmath>

namespace so100_hardware
{
namespace
{

constexpr double kLeRobotTicksPerTurn = kTicksPerTurn - 1;

// A product that is rounded by itself, as in LeRobot. Left in the sum, a processor with a fused
// multiply-add (ARM) would differ from LeRobot in the last bit, and with that by a tick.
[[gnu::noinline]] double product(double a, double b) { return a * b; }

bool usable(TickRange range, int drive_mode)
{
  return range.valid() && (drive_mode == 0 || drive_mode == 1);
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

std::optional<double> lerobot_degrees(TickRange range, int tick)
{
  if (!range.valid()) {
    return std::nullopt;
  }
  return (tick - range.middle()) * 360.0 / kLeRobotTicksPerTurn;
}

std::optional<double> lerobot_0_100(TickRange range, int drive_mode, int tick)
{
  if (!usable(range, drive_mode)) {
    return std::nullopt;
  }
  const double share = static_cast<double>(range.clamp(tick) - range.min) / (range.max - range.min);
  const double value = product(share, 100.0);
  return drive_mode == 1 ? 100.0 - value : value;
}

}  // namespace so100_hardware
