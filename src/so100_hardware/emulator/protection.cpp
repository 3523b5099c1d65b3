// SPDX-License-Identifier: Apache-2.0
#include "protection.hpp"

#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::emulator
{
namespace bits = feetech::status_bits;

std::uint8_t Protection::step(double dt, const Measurements & now, const ProtectionLimits & limits)
{
  // Exactly the limit counts: the torque is capped, so it never gets above a limit that equals
  // the cap.
  overload_for_ = now.strain >= limits.overload ? overload_for_ + dt : 0.0;
  over_current_for_ = now.current >= limits.max_current ? over_current_for_ + dt : 0.0;
  if (overload_for_ > limits.overload_time) {
    latched_ |= bits::overload;
  }
  if (over_current_for_ > limits.current_time) {
    latched_ |= bits::over_current;
  }
  status_ = latched_;
  if (now.voltage < limits.min_voltage || now.voltage > limits.max_voltage) {
    status_ |= bits::voltage;
  }
  if (now.temperature > limits.max_temperature) {
    status_ |= bits::overheat;
  }
  if (now.encoder_fault) {
    status_ |= bits::encoder;
  }
  return status_;
}

void Protection::force_overload()
{
  latched_ |= bits::overload;
  status_ |= bits::overload;
}

void Protection::clear_latches()
{
  latched_ = 0;
  overload_for_ = 0.0;
  over_current_for_ = 0.0;
  status_ &= static_cast<std::uint8_t>(~(bits::overload | bits::over_current));
}

}  // namespace so100_hardware::emulator
