// SPDX-License-Identifier: Apache-2.0
// Finding servos.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "notices.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::tools
{

/// What one port has to say.
struct PortScan
{
  std::vector<ScannedServo> servos;
  std::vector<Notice> notices;
};

/// Looks for servos at each of the baud rates: a broadcast ping, and a ping of the expected ids
/// where servos may have hidden each other.
/// @param progress  called before each baud rate
/// @return an Error only when the port fails; when interrupted, what was found so far
feetech::Result<PortScan> scan_port(
  const std::string & port, const std::vector<int> & bauds, const std::vector<int> & expected,
  const std::function<void(int baud)> & progress);

/// Reads everything of the servo with `servo.id`. What does not come stays empty.
/// @return an Error when the port fails
feetech::Result<void> read_details(feetech::Bus & bus, ScannedServo & servo);

}  // namespace so100_hardware::tools
