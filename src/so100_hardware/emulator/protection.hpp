// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace so100_hardware::emulator
{

/// The limits of registers 13 to 38 in SI units.
struct ProtectionLimits
{
  double min_voltage = 6.0;     ///< V
  double max_voltage = 14.0;    ///< V
  double max_temperature = 70;  ///< °C
  double overload = 0.8;        ///< share of the stall torque
  double overload_time = 2.0;   ///< s
  double max_current = 3.25;    ///< A
  double current_time = 2.0;    ///< s
};

struct Measurements
{
  double voltage = 12.0;      ///< V
  double temperature = 25.0;  ///< °C
  double strain = 0.0;        ///< torque, share of the stall torque
  double current = 0.0;       ///< A
  bool encoder_fault = false;
};

/// Finds the fault bits of a servo. Voltage, encoder and temperature are reported while they are
/// bad; overload and over-current latch after their time until clear_latches().
class Protection
{
public:
  /// Moves on by `dt` seconds. Returns the status bits (feetech::status_bits).
  std::uint8_t step(double dt, const Measurements & now, const ProtectionLimits & limits);

  std::uint8_t status() const { return status_; }

  /// Latches an overload at once, as after a long push.
  void force_overload();
  void clear_latches();

private:
  std::uint8_t status_ = 0;
  std::uint8_t latched_ = 0;
  double overload_for_ = 0.0;
  double over_current_for_ = 0.0;
};

}  // namespace so100_hardware::emulator
