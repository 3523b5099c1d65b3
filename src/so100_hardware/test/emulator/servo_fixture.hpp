// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "servo_model.hpp"

namespace so100_hardware::emulator
{

/// Writes a register as a client does, low byte first.
inline void put(ServoModel & servo, const feetech::Register & reg, int value)
{
  std::array<std::uint8_t, 2> bytes{};
  encode(reg, value, bytes.data());
  servo.write(reg.address, bytes.data(), reg.size);
}

/// Lets a servo live for a while, in steps of 1 ms.
inline void live(ServoModel & servo, double seconds, double volts = 12.0)
{
  for (int i = 0; i < static_cast<int>(seconds * 1000.0 + 0.5); ++i) {
    servo.step(0.001, volts);
  }
}

/// Torque on, then to `goal`, with time to get there.
inline void drive_to(ServoModel & servo, int goal)
{
  put(servo, feetech::registers::torque_enable, 1);
  put(servo, feetech::registers::goal_position, goal);
  live(servo, 3.0);
}

}  // namespace so100_hardware::emulator
