// SPDX-License-Identifier: Apache-2.0
// Finding servos, and what is odd about them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::tools
{

/// A servo that answered. What could not be read is empty.
struct ScannedServo
{
  std::string port;
  int baud = 0;
  int id = 0;
  bool duplicate = false;  ///< several servos answer to this id
  std::optional<int> model;
  std::optional<int> firmware_major;
  std::optional<int> firmware_minor;
  std::optional<int> voltage;  ///< 0.1 V
  std::optional<int> min_voltage;
  std::optional<int> max_voltage;
  std::optional<int> temperature;  ///< degrees Celsius
  std::optional<int> position;     ///< ticks
  std::optional<int> status;       ///< fault bits
};

/// Something odd about servos, and what to do, in one line.
struct Notice
{
  enum class Kind { garbled, duplicate, unreadable, firmware, model, supply, fault, baud };
  Kind kind;
  std::string text;
};

/// "3.10"
std::string firmware_text(const ScannedServo & servo);

/// Doubled ids, servos that could not be read, mixed firmware, a supply outside of the servos' limits, faults, other models,
/// other baud rates.
std::vector<Notice> servo_notices(const std::vector<ScannedServo> & servos);

/// Which of the expected ids did not answer, as a line; empty when all are there.
std::string missing_servos(
  const std::vector<ScannedServo> & servos, const std::vector<int> & expected);

/// What one port has to say.
struct PortScan
{
  std::vector<ScannedServo> servos;
  std::vector<Notice> notices;
};

/// Looks for servos at each of the baud rates: a broadcast ping, and a ping of the expected ids
/// where servos may have hidden each other.
/// @return an Error only when the port fails; when interrupted, what was found so far
feetech::Result<PortScan> scan_port(
  const std::string & port, const std::vector<int> & bauds, const std::vector<int> & expected);

/// Reads everything of the servo with `servo.id`. What does not come stays empty.
/// @return an Error when the port fails
feetech::Result<void> read_details(feetech::Bus & bus, ScannedServo & servo);

}  // namespace so100_hardware::tools
