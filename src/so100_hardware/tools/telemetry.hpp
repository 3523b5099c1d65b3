// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arm.hpp"
#include "so100_hardware/calibration.hpp"
#include "so100_hardware/telemetry.hpp"

namespace so100_hardware::tools
{

/// What the servos of an arm measure and how well their bus works, as a table or as CSV.
class Telemetry
{
public:
  /// @param calibration  gives radians and LeRobot's units; may be empty
  Telemetry(feetech::Bus & bus, Arm arm, const Calibration & calibration);

  /// Reads all servos once. Returns how many answered; an Error when the port fails.
  feetech::Result<std::size_t> read();

  /// Whether a servo did not answer the last read, or reports a fault.
  bool faults() const;

  /// A row per servo and a line about the reads.
  std::string table() const;

  static std::string csv_header();
  /// The last read: a line per servo, SI units, load as a share of the full duty cycle.
  std::string csv() const;

private:
  /// A servo and what is known about it.
  struct Entry
  {
    ArmServo servo;
    std::optional<JointCalibration> calibration;
    std::optional<JointConversion> radians;
    bool answered = false;  // ever
  };

  std::vector<std::string> row(std::size_t i) const;
  JointState state(std::size_t i) const;
  int tick(std::size_t i) const;

  feetech::Bus & bus_;
  std::vector<Entry> arm_;
  std::vector<std::uint8_t> ids_;
  std::vector<feetech::ServoState> states_;
  bool calibrated_;
  std::chrono::steady_clock::time_point start_;
  double time_ = 0;  // of the last read, since the start [s]
  std::uint64_t reads_ = 0;
  double total_ms_ = 0;
  double longest_ms_ = 0;
};

}  // namespace so100_hardware::tools
