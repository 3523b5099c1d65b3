// SPDX-License-Identifier: Apache-2.0
#include "arm.hpp"

#include <array>

namespace so100_hardware::emulator
{
namespace
{
constexpr std::chrono::milliseconds kStep{1};
constexpr double kStepSeconds = 0.001;
constexpr std::chrono::seconds kLongestPause{10};
/// Cable and plugs from the supply to the servos, Ω.
constexpr double kCable = 0.15;

// Shares of the stall torque and limp poses of an SO-100 that folds onto its base.
constexpr std::array<Joint, 6> kSo100{{
  {0.0, 2048.0, 2048.0},
  {0.20, 900.0, 2048.0},
  {0.15, 3050.0, 2048.0},
  {0.06, 2800.0, 2048.0},
  {0.0, 2048.0, 2048.0},
  {0.0, 2048.0, 2048.0},
}};
}  // namespace

Joint so100_joint(std::size_t index, double gravity)
{
  Joint joint = index < kSo100.size() ? kSo100[index] : Joint{};
  joint.gravity *= gravity;
  return joint;
}

Arm::Arm(const std::vector<ServoOptions> & servos, double supply_voltage) : supply_(supply_voltage)
{
  for (const ServoOptions & options : servos) {
    add(options);
  }
}

void Arm::add(const ServoOptions & options) { units_.push_back(std::make_unique<Unit>(options)); }

void Arm::remove(std::size_t index)
{
  units_.erase(units_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Arm::step()
{
  double current = 0.0;
  for (const auto & unit : units_) {
    current += unit->servo.dynamics().current();
  }
  for (const auto & unit : units_) {
    unit->servo.step(kStepSeconds, supply_ - kCable * current);
  }
}

void Arm::advance_to(TimePoint now)
{
  if (!started_) {
    started_ = true;
    time_ = now - kStep;
  }
  if (now - time_ > kLongestPause) {
    time_ = now - kLongestPause;
  }
  while (now - time_ >= kStep) {
    step();
    time_ += kStep;
  }
}

}  // namespace so100_hardware::emulator
